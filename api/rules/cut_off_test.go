package rules_test

import (
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
)

func TestCutOffUser(t *testing.T) {
	u := alice()
	if f, refusal := rules.CutOffUser(u, events.ReasonUserRequest); refusal != nil || f != (events.UserCutOff{Reason: events.ReasonUserRequest}) {
		t.Errorf("%v, %v", f, refusal)
	}
	u.Disabled = true
	if f, refusal := rules.CutOffUser(u, events.ReasonAdminRequest); refusal != nil || f != nil {
		t.Errorf("disabled: %v, %v", f, refusal)
	}
	u.Seq = 0
	_, refusal := rules.CutOffUser(u, events.ReasonAdminRequest)
	wantRefusal(t, refusal, rules.NotFound)
}
