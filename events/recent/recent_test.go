package recent

import "testing"

func TestMap(t *testing.T) {
	m := Map[int, string]{Size: 2}
	if v, ok := m.Get(1); ok {
		t.Errorf("an empty map has %q", v)
	}
	for k, v := range []string{"a", "b", "c"} {
		m.Put(k, v)
	}
	if v, ok := m.Get(0); !ok || v != "a" {
		t.Errorf("0 is %q, %v: one more than Size, and nothing else was put", v, ok)
	}
	m.Put(2, "newer")
	if v, _ := m.Get(2); v != "newer" {
		t.Errorf("2 is %q", v)
	}
	m.Put(0, "again")
	m.Put(3, "d")
	if v, ok := m.Get(1); ok {
		t.Errorf("1 is %q, after Size others twice", v)
	}
	if v, _ := m.Get(0); v != "again" {
		t.Errorf("0 is %q: what is put again is new", v)
	}
	m.Delete(0)
	m.Delete(3)
	for _, k := range []int{0, 3} {
		if v, ok := m.Get(k); ok {
			t.Errorf("%d is %q, and was deleted", k, v)
		}
	}
}
