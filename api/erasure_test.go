package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/chancery-authority/chancery/api/apitest"
	"github.com/chancery-authority/chancery/api/secret"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/embedded/embeddedtest"
	"github.com/chancery-authority/chancery/events/eventlog"
)

// deleteOnly does what a replica has done that dies right after the event.
func deleteOnly(t testing.TB, r *apitest.Replica, user string) {
	t.Helper()
	last, ok, err := r.Log.Last(t.Context(), r.Log.Realm().UserSubject(user))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	e := events.Event{ID: "deletion-" + user, Source: apitest.Issuer, Subject: last.Subject, Meta: events.Meta{Actor: "admin"}, Fact: events.UserDeleted{}}
	if _, err := r.Log.Append(t.Context(), eventlog.Unit{Event: e, Expect: last.Seq}); err != nil {
		t.Fatal(err)
	}
}

func waitErased(t testing.TB, r *apitest.Replica, user string) events.Recorded {
	t.Helper()
	var last events.Recorded
	embeddedtest.Eventually(t, "the erasure to be in the log", func() bool {
		var err error
		last, _, err = r.Log.Last(t.Context(), r.Log.Realm().UserSubject(user))
		return err == nil && last.Fact == events.Fact(events.UserErased{})
	})
	return last
}

// keysOf are the keys of the directory that contain a text.
func keysOf(t testing.TB, nc *nats.Conn, text string) (found []string) {
	t.Helper()
	for subject := range records(t, nc) {
		if strings.Contains(subject, text) {
			found = append(found, subject)
		}
	}
	return found
}

// records are the messages of the directory as the server has them, by their
// subjects.
func records(t testing.TB, nc *nats.Conn) map[string][]byte {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KV_MAIN_RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for seq := uint64(1); ; {
		m, err := stream.GetMsg(t.Context(), seq, jetstream.WithGetMsgSubject(">"))
		if err != nil {
			return all
		}
		all[m.Subject], seq = append(all[m.Subject], m.Data...), m.Sequence+1
	}
}

func nameHash(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// TestErasureIsFinished has whoever deletes a user die on the way.
func TestErasureIsFinished(t *testing.T) {
	t.Parallel()
	nc := embeddedtest.Single(t).Conn()
	first, second := apitest.Start(t, nc, apitest.Options{}), apitest.Start(t, nc, apitest.Options{})
	first.Seed(t)
	ids := map[string]string{}
	for _, name := range []string{"noticed", "left", "gone"} {
		ids[name] = createUser(t, first, map[string]string{"username": name}).Text("user_id")
	}
	check := func(t *testing.T, name string) {
		t.Helper()
		if last := waitErased(t, first, ids[name]); last.Meta.Actor != "system" {
			t.Errorf("recorded %+v", last)
		}
		if left := append(keysOf(t, nc, ids[name]), keysOf(t, nc, nameHash(name))...); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	}
	t.Run("noticed by others", func(t *testing.T) {
		deleteOnly(t, first, ids["noticed"])
		check(t, "noticed")
	})
	for _, r := range []*apitest.Replica{first, second} {
		r.Server.Close()
	}
	deleteOnly(t, first, ids["left"])
	deleteOnly(t, first, ids["gone"])
	bucket, err := first.Log.ErasableBucket(t.Context(), "RECORDS")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name." + nameHash("gone"), "person." + ids["gone"]} {
		if err := bucket.Erase(t.Context(), key, func([]byte) bool { return true }); err != nil {
			t.Fatal(err)
		}
	}
	if left := keysOf(t, nc, ids["left"]); len(left) != 1 {
		t.Fatalf("the record is gone already, or never was: %v", left)
	}
	last, _, err := first.Log.Last(t.Context(), first.Log.Realm().UserSubject(ids["gone"]))
	if err != nil || last.Fact != events.Fact(events.UserDeleted{}) {
		t.Fatal(last, err)
	}
	again := apitest.Start(t, nc, apitest.Options{})
	apitest.Start(t, nc, apitest.Options{}) // which races with it
	t.Run("record and name still there", func(t *testing.T) { check(t, "left") })
	t.Run("all but the event", func(t *testing.T) { check(t, "gone") })
	t.Run("and is not done again", func(t *testing.T) {
		a := wantOK(t, again.Admin(t, http.MethodDelete, "/users/"+ids["left"], nil))
		if last := waitErased(t, again, ids["left"]); a.JSON["seq"] != float64(last.Seq) {
			t.Errorf("told %s, it is at %d", a.Body, last.Seq)
		}
	})
}

// A sealedOrigin is an event's, with its type.
type sealedOrigin struct{ kind, event, sealed string }

// chains are the hashes of all streams of events up to a sequence, and the
// origins of a user's events, or of all that seem to be theirs.
func chains(t testing.TB, r *apitest.Replica, upTo map[string]uint64) (hashes map[string]events.Hash, heads map[string]uint64, origins []sealedOrigin) {
	t.Helper()
	hashes, heads = map[string]events.Hash{}, map[string]uint64{}
	for _, stream := range []string{r.Log.Realm().RegistryStream(), r.Log.Realm().PartitionStream(0)} {
		err := r.Log.Replay(t.Context(), stream, eventlog.From{}, func(entries []eventlog.Entry) error {
			for _, e := range entries {
				if most, ok := upTo[stream]; ok && e.Seq > most {
					return nil
				}
				hashes[stream], heads[stream] = hashes[stream].Next(e.Seq, e.Message), e.Seq
				recorded, err := e.Recorded()
				if err != nil {
					return err
				}
				if recorded.Meta.Origin != "" {
					origins = append(origins, sealedOrigin{recorded.Fact.Type(), recorded.ID, recorded.Meta.Origin})
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return hashes, heads, origins
}

// originKeys are all the keys to origins that the directory's records hold.
func originKeys(t testing.TB, nc *nats.Conn) (keys []secret.OriginKey) {
	t.Helper()
	ring, err := secret.ParseRing(secret.New(apitest.KeyRing))
	if err != nil {
		t.Fatal(err)
	}
	for subject, data := range records(t, nc) {
		var record struct {
			OriginKey []byte `json:"origin_key"`
		}
		owner := strings.Split(strings.TrimPrefix(subject, "$KV.MAIN_RECORDS."), ".")
		if json.Unmarshal(data, &record) != nil {
			record.OriginKey = data // a client's
		}
		if len(owner) < 2 || owner[0] == "name" {
			continue
		}
		private, err := ring.Sealer("origin-key").Open(record.OriginKey, []byte(owner[1]))
		if err != nil {
			t.Fatalf("%s: %v", subject, err)
		}
		key, err := secret.ParseOriginKey(private)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// openedBy are the types of the events whose origin one of the keys opens.
func openedBy(origins []sealedOrigin, keys ...secret.OriginKey) map[string]int {
	types := map[string]int{}
	for _, o := range origins {
		for _, key := range keys {
			if _, err := key.Open(o.event, o.sealed); err == nil {
				types[o.kind]++
			}
		}
	}
	return types
}

// TestNothingIsLeftOfAnErasedPerson looks for the person in every message and
// every file that there is, opens what was sealed with whatever key is left, and
// holds the log against what it was.
func TestNothingIsLeftOfAnErasedPerson(t *testing.T) {
	t.Parallel()
	node, dir := embeddedtest.Single(t), t.TempDir()
	nc := node.Conn()
	r := apitest.Start(t, nc, apitest.Options{Settings: patient, Dir: dir})
	r.Seed(t)
	bystander := registerUser(t, r, apitest.DemoSPA, "bystander")
	tokens := registerUser(t, r, apitest.DemoSPA, "planted-dormouse")
	user := subject(t, tokens)
	for _, nickname := range []string{"planted-first", "planted-second"} {
		wantOK(t, patchMe(t, r, tokens.Text("access_token"), map[string]any{"nickname": nickname}))
	}
	passwordLogin(t, r, "planted-dormouse", "planted-wrong")
	if a := signOut(t, r, "all", tokens.Text("access_token")); a.Status != http.StatusNoContent {
		t.Fatalf("sign out: %d", a.Status)
	}
	wantOK(t, passwordLogin(t, r, "planted-dormouse", "a-password"))
	embeddedtest.Eventually(t, "the refusal to be recorded", func() bool {
		return strings.Contains(string(r.WholeEvents(t, "user", user)), "request.refused")
	})
	var key string // sealed, as the record has it
	record := recordOf(t, r, user)
	key, _ = record["origin_key"].(string)
	planted := []string{"planted-", "dormouse", nameHash("planted-dormouse"), key, record["password"].(string)}
	allKeys := originKeys(t, nc)
	before, heads, origins := chains(t, r, nil)
	could := openedBy(origins, allKeys...)
	for _, kind := range []string{"user.registered.v1", "session.opened.v1", "grant.opened.v1", "request.refused.v1", "user.cut_off.v1"} {
		if could[kind] == 0 {
			t.Errorf("no origin of %s: %v", kind, could)
		}
	}
	wantLeft(t, nc, node.Dir, planted, true)

	wantOK(t, r.Admin(t, http.MethodDelete, "/users/"+user, nil))
	left := openedBy(origins, originKeys(t, nc)...)
	bystanders := openedBy(origins, keyOf(t, nc, subject(t, bystander)))
	total := func(types map[string]int) (n int) {
		for _, k := range types {
			n += k
		}
		return n
	}
	if len(originKeys(t, nc)) != len(allKeys)-1 || left["user.cut_off.v1"]+left["request.refused.v1"] > 0 || total(left) >= total(could) ||
		total(bystanders) == 0 || bystanders["user.registered.v1"] != 1 {
		t.Errorf("still open: %v, of the bystander %v", left, bystanders)
	}
	after, _, _ := chains(t, r, heads)
	for stream, hash := range before {
		if after[stream] != hash {
			t.Errorf("%s: the hash up to %d has changed", stream, heads[stream])
		}
	}
	r.WaitFolded(t)
	now, ends, _ := chains(t, r, nil)
	for _, s := range r.Local.Status() {
		if s.Position == ends[s.Stream] && s.Hash != now[s.Stream] {
			t.Errorf("%s: the projector's hash is another", s.Stream)
		}
	}
	wantLeft(t, nc, node.Dir, planted, false)
	wantLeft(t, nil, dir, planted, false)
	r.Server.Close()
	node.Stop() // which writes what it had in memory
	wantLeft(t, nil, node.Dir, planted, false)
}

func keyOf(t testing.TB, nc *nats.Conn, user string) secret.OriginKey {
	t.Helper()
	var record struct {
		OriginKey []byte `json:"origin_key"`
	}
	if err := json.Unmarshal(records(t, nc)["$KV.MAIN_RECORDS.person."+user], &record); err != nil {
		t.Fatal(err)
	}
	ring, err := secret.ParseRing(secret.New(apitest.KeyRing))
	if err != nil {
		t.Fatal(err)
	}
	private, err := ring.Sealer("origin-key").Open(record.OriginKey, []byte(user))
	if err != nil {
		t.Fatal(err)
	}
	key, err := secret.ParseOriginKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// wantLeft looks for texts in the messages of all streams, if nc is not nil, and
// in the files below dir. Each must be somewhere, or none anywhere.
func wantLeft(t *testing.T, nc *nats.Conn, dir string, texts []string, want bool) {
	t.Helper()
	kept := map[string][]byte{}
	if nc != nil {
		readStreams(t, nc, kept)
	}
	readFiles(t, dir, kept)
	for _, text := range texts {
		found := false
		for where, content := range kept {
			if bytes.Contains(content, []byte(text)) {
				found = true
				if !want {
					t.Errorf("%.20q is in %s", text, where)
				}
			}
		}
		if want && !found {
			t.Errorf("%.20q is nowhere", text)
		}
	}
}
