package rules_test

import (
	"testing"

	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/projector/fold"
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

func TestCutOffClient(t *testing.T) {
	c := fold.Client{ID: "web", Seq: 1}
	if f, refusal := rules.CutOffClient(c); refusal != nil || f != (events.ClientCutOff{Reason: events.ReasonAdminRequest}) {
		t.Errorf("%v, %v", f, refusal)
	}
	c.Disabled = true
	if f, refusal := rules.CutOffClient(c); refusal != nil || f != nil {
		t.Errorf("disabled: %v, %v", f, refusal)
	}
	_, refusal := rules.CutOffClient(fold.Client{})
	wantRefusal(t, refusal, rules.NotFound)
}
