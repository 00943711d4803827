package authority

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/chancery-authority/chancery/api/reseal"
)

// Store is the bucket of people and of what is private of clients, to be sealed
// anew. What is sealed in it are origin keys.
func (a *Authority) Store() reseal.Store {
	return reseal.Store{Name: "records", Bucket: a.records.bucket, Reseal: a.resealRecord}
}

func (a *Authority) resealRecord(name string, value []byte) (anew []byte, by string, err error) {
	kind, rest, _ := strings.Cut(name, ".")
	switch owner, _, _ := strings.Cut(rest, "."); kind {
	case "person":
		var record person
		if err := json.Unmarshal(value, &record); err != nil {
			return nil, "", fmt.Errorf("decode record: %w", err)
		}
		if record.OriginKey, by, err = a.OriginKeys.Reseal(record.OriginKey, []byte(owner)); err != nil {
			return nil, by, err
		}
		anew, err = encodePerson(record)
		return anew, by, err
	case "client":
		return a.OriginKeys.Reseal(value, []byte(owner))
	}
	return value, "", nil
}
