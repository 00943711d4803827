package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/chancery-authority/chancery/api/credential"
	"github.com/chancery-authority/chancery/api/rules"
	"github.com/chancery-authority/chancery/events"
	"github.com/chancery-authority/chancery/events/eventlog"
	"github.com/chancery-authority/chancery/projector/fold"
)

// An Authentication is a resource owner who has authenticated.
type Authentication struct {
	User fold.User
	// Session says where and when, and does not exist where a client sent the
	// password itself.
	Session fold.Session
}

// OpenSession signs in a user who has just proved to be that one, by the
// methods of amr and to the level of acr, which is empty where none is claimed.
// The text proves the session from now on; only the user's browser may hold it.
func (a *Authority) OpenSession(ctx context.Context, u fold.User, amr []string, acr string, caller Caller) (auth *Authentication, text string, err error) {
	id := a.newGrantID()
	auth, text, err = a.openSession(ctx, id, u, amr, acr, a.Feed.Now(id.Partition()), caller)
	if errors.Is(err, eventlog.ErrConflict) {
		return nil, "", fmt.Errorf("open session: id %s drawn twice: %w", id, err)
	}
	return auth, text, err
}

// openSession is OpenSession under an id, of who authenticated at a time. The
// error is eventlog.ErrConflict if it was opened before.
func (a *Authority) openSession(ctx context.Context, id events.SessionID, u fold.User, amr []string, acr string, at time.Time, caller Caller) (auth *Authentication, text string, err error) {
	ring, mac := a.Keys.MAC()
	if mac == 0 {
		return nil, "", unavailable("choose a MAC key", errors.New("none is active here"))
	}
	if err := a.partition(ctx, id.Partition()); err != nil {
		return nil, "", err
	}
	fact := rules.OpenSession(u, amr, acr, a.Policy(), mac, at)
	text, err = ring.Render(credential.Session, credential.Claims{Grant: id, Expires: fact.Expires, MACKey: mac})
	if err != nil {
		return nil, "", fmt.Errorf("render session: %w", err)
	}
	e := a.event(a.Log.Realm().SessionSubject(id), caller.meta(userActor(u.ID)), fact)
	a.seal(&e, u.OriginKey, caller)
	receipt, err := a.Log.Append(ctx, eventlog.Unit{Event: e})
	if errors.Is(err, eventlog.ErrConflict) {
		return nil, "", err
	}
	if err != nil {
		return nil, "", unavailable("append "+fact.Type(), err)
	}
	s := fold.Session{ID: id, Seq: receipt.Seq, SessionOpened: fact, OpenedAt: e.Time}
	return &Authentication{User: u, Session: s}, text, nil
}

// Session is who a session's text stands for now. The refusal is NoSession.
func (a *Authority) Session(ctx context.Context, text string) (*Authentication, error) {
	claims, err := a.parse(credential.Session, text)
	if err != nil {
		return nil, badCredential(err, NoSession, "", events.GrantID{})
	}
	auth, err := a.SessionByID(ctx, claims.Grant)
	if err == nil && auth.Session.MACKey != claims.MACKey {
		return nil, &rules.Refusal{Reason: NoSession, Detail: "of an opening that the log has lost"}
	}
	return auth, err
}

// SessionByID is who a session stands for now. The refusal is NoSession.
//
// Its opening never changes, and where
// the row is behind the log has it. Of its end the row tells what is long ago
// and the feed, which is asked last, what is not.
func (a *Authority) SessionByID(ctx context.Context, id events.SessionID) (*Authentication, error) {
	if err := a.partition(ctx, id.Partition()); err != nil {
		return nil, err
	}
	s, err := a.Reader.Session(ctx, id)
	if err != nil {
		return nil, unavailable("read the session", err)
	}
	if !s.Exists() {
		if s, err = catchUp(ctx, a.Log, a.Log.Realm().SessionSubject(id), s, 0); err != nil {
			return nil, unavailable("read the session from the log", err)
		}
	}
	if !s.Exists() {
		// The MAC proves that it was opened. Who signs in again loses nothing, and who
		// could not would be locked out for as long as the cookie lives.
		a.Logger.ErrorContext(ctx, "a session is ahead of the log: compare the partition with its last checkpoint",
			"session", id.String(), "partition", int(id.Partition()))
		return nil, &rules.Refusal{Reason: NoSession, Detail: "no such session under a valid MAC"}
	}
	if err := a.Feed.Fresh(ctx, id.Partition()); err != nil {
		return nil, unavailable("prove the feed fresh", err)
	}
	u, err := a.user(ctx, s.User)
	if err != nil {
		return nil, err
	}
	if a.Feed.SessionEnded(id) || a.sessionLost(s) || !rules.SessionInForce(s, u, a.Feed.Now(id.Partition())) {
		return nil, &rules.Refusal{Reason: NoSession, Detail: "ended"}
	}
	return &Authentication{User: u, Session: s}, nil
}

// EndSession signs a user out of a session, which leaves grants alone. To end it
// again is no error.
func (a *Authority) EndSession(ctx context.Context, auth *Authentication, reason string, caller Caller) error {
	s := auth.Session
	p := s.ID.Partition()
	if a.Feed.SessionEnded(s.ID) {
		return nil
	}
	actor := userActor(s.User)
	if reason == events.ReasonAdminRequest {
		actor = adminActor
	}
	e := a.event(a.Log.Realm().RevokedSubject(p), caller.meta(actor), events.SessionEnded{
		Session: s.ID, User: s.User, Reason: reason, Until: s.Expires,
	})
	if actor != adminActor {
		a.seal(&e, auth.User.OriginKey, caller)
	}
	if _, err := a.Log.Append(ctx, eventlog.Unit{Event: e}); err != nil {
		return unavailable("append "+e.Fact.Type(), err)
	}
	a.Feed.Learn(p, fold.Revocation{Session: s.ID, Until: s.Expires})
	return nil
}

// EndSessionOf is EndSession of a session that was listed, if it is that user's.
// One that does not exist, or is over, is refused as NoSession.
func (a *Authority) EndSessionOf(ctx context.Context, u fold.User, id events.SessionID, reason string, caller Caller) error {
	there, err := a.hasPartition(ctx, id.Partition())
	if err != nil {
		return err
	}
	if !there {
		return &rules.Refusal{Reason: NoSession, Detail: "never was one"}
	}
	// It need not exist: no cookie has proved it.
	s, err := a.Reader.Session(ctx, id)
	if err == nil && !s.Exists() {
		s, err = catchUp(ctx, a.Log, a.Log.Realm().SessionSubject(id), s, 0)
	}
	if err != nil {
		return unavailable("read the session", err)
	}
	if s.User != u.ID || a.Feed.SessionEnded(id) || a.sessionLost(s) || !rules.SessionInForce(s, u, a.Feed.Now(id.Partition())) {
		return &rules.Refusal{Reason: NoSession, Detail: "not one of the user's"}
	}
	return a.EndSession(ctx, &Authentication{User: u, Session: s}, reason, caller)
}
