package api

import (
	"net/http"

	"github.com/chancery-authority/chancery/api/authority"
	"github.com/chancery-authority/chancery/api/pages"
	"github.com/chancery-authority/chancery/api/rules"
)

// Reasons that only the edge has: what is wrong before any rule is asked.
const (
	malformedRequest     rules.Reason = "malformed_request"
	duplicateParameter   rules.Reason = "duplicate_parameter"
	queryParameter       rules.Reason = "parameter_in_query"
	wrongContentType     rules.Reason = "wrong_content_type"
	bodyTooLarge         rules.Reason = "body_too_large"
	manyAuthentications  rules.Reason = "several_client_authentications"
	unsupportedGrantType rules.Reason = "unsupported_grant_type"
	unsupportedResponse  rules.Reason = "unsupported_response_type"
	unknownMember        rules.Reason = "unknown_member"
	stateTooShort        rules.Reason = "state_too_short"
	noRoute              rules.Reason = "no_route"
	noProject            rules.Reason = "no_such_project"
	wrongMethod          rules.Reason = "wrong_method"
	adminKeyRequired     rules.Reason = "admin_key_required"

	// About read models.
	noReadModels      rules.Reason = "no_read_models"
	noSuchModel       rules.Reason = "no_such_read_model"
	nothingBeside     rules.Reason = "nothing_beside"
	besideInTheWay    rules.Reason = "beside_in_the_way"
	besideBehind      rules.Reason = "beside_behind"
	besideNotCompared rules.Reason = "beside_not_compared"
	modelBusy         rules.Reason = "read_model_busy"

	// About keys.
	noSuchKey     rules.Reason = "no_such_key"
	wrongKeyState rules.Reason = "wrong_key_state"
	keyTooYoung   rules.Reason = "key_too_young"
	noMACKeysLeft rules.Reason = "no_mac_keys_left"

	forgedForm               rules.Reason = "forged_form"
	registrationClosed       rules.Reason = "registration_closed"
	requestNotSupported      rules.Reason = "request_not_supported"
	requestURINotSupported   rules.Reason = "request_uri_not_supported"
	registrationNotSupported rules.Reason = "registration_not_supported"
	bearerRequired           rules.Reason = "bearer_token_required" //nolint:gosec // a reason, no credential
)

// An answer is how one reason is told to a client, in each dialect.
type answer struct {
	// status and code are RFC 6749 §5.2's, or those of the RFC named.
	status int
	code   string
	// loginStatus and loginCode are the Login API's.
	loginStatus int
	loginCode   string
	// description is fixed text within RFC 6749's character set. It never
	// holds anything that was sent; the parameter's name is put before it.
	description string
}

// Error codes of RFC 6749 §5.2 and its extensions.
const (
	codeInvalidRequest     = "invalid_request"
	codeInvalidClient      = "invalid_client"
	codeInvalidGrant       = "invalid_grant"
	codeUnauthorizedClient = "unauthorized_client"
	codeUnsupportedGrant   = "unsupported_grant_type"
	codeInvalidScope       = "invalid_scope"
	codeInvalidTarget      = "invalid_target" // RFC 8707 §2
	codeInvalidToken       = "invalid_token"  // RFC 6750 §3.1
	codeInsufficientScope  = "insufficient_scope"
	codeAccessDenied       = "access_denied"
	codeServerError        = "server_error"
	codeUnavailable        = "temporarily_unavailable"
)

// answers is the one place where a refusal becomes a status and a code.
var answers = map[rules.Reason]answer{
	malformedRequest:     {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "the request is malformed"},
	duplicateParameter:   {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "sent more than once"},
	queryParameter:       {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "belongs in the body, not in the query"},
	wrongContentType:     {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "the content type is not the one expected"},
	bodyTooLarge:         {http.StatusRequestEntityTooLarge, codeInvalidRequest, http.StatusBadRequest, "0", "the body is too large"},
	manyAuthentications:  {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "more than one client authentication method"},
	unsupportedGrantType: {http.StatusBadRequest, codeUnsupportedGrant, http.StatusBadRequest, "0", "not a grant type of this server"},
	unsupportedResponse:  {http.StatusBadRequest, "unsupported_response_type", http.StatusBadRequest, "0", "not a response type of this server"},
	unknownMember:        {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "nothing that can be set here"},
	stateTooShort:        {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "010-022", "missing or shorter than 8 characters"},
	forgedForm:           {http.StatusForbidden, codeAccessDenied, http.StatusForbidden, "010-026", "not from a form that was written for this browser"},
	registrationClosed:   {http.StatusForbidden, codeAccessDenied, http.StatusUnprocessableEntity, "003-020", "nobody can register here"},

	requestNotSupported:      {http.StatusBadRequest, "request_not_supported", http.StatusBadRequest, "0", "request objects are not supported"},
	requestURINotSupported:   {http.StatusBadRequest, "request_uri_not_supported", http.StatusBadRequest, "0", "only pushed requests are supported"},
	registrationNotSupported: {http.StatusBadRequest, "registration_not_supported", http.StatusBadRequest, "0", "not supported"},

	noRoute:          {http.StatusNotFound, "not_found", http.StatusNotFound, "003-061", "there is nothing at this address"},
	noProject:        {http.StatusNotFound, "not_found", http.StatusNotFound, "003-019", "there is no such project"},
	wrongMethod:      {http.StatusMethodNotAllowed, codeInvalidRequest, http.StatusMethodNotAllowed, "0", "the method is not allowed here"},
	adminKeyRequired: {http.StatusUnauthorized, codeInvalidToken, http.StatusUnauthorized, "002-016", "the admin key is required as bearer token"},
	bearerRequired:   {http.StatusUnauthorized, codeInvalidToken, http.StatusUnauthorized, "002-016", "an access token is required in the Authorization header"},

	noReadModels:      {http.StatusNotFound, "not_found", http.StatusNotFound, "003-061", "this process has no read models: ask the admin address of a projector"},
	noSuchModel:       {http.StatusNotFound, "not_found", http.StatusNotFound, "003-061", "there is no such read model"},
	nothingBeside:     {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "nothing is built beside the live read model: rebuild first"},
	besideInTheWay:    {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "what was live before, or has stopped, is still there: drop it first"},
	besideBehind:      {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "what is built has not caught up"},
	besideNotCompared: {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "no comparison has found both to be the same: compare them, or force it"},
	modelBusy:         {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "the read model is being compared, switched or dropped"},

	noSuchKey:     {http.StatusNotFound, "not_found", http.StatusNotFound, "003-061", "there is no such key"},
	wrongKeyState: {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "the key is not in a state for that, or is the one in use: rotate first"},
	keyTooYoung:   {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "the key was announced too recently: JWK Sets without it are still in use"},
	noMACKeysLeft: {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "all 255 ids of MAC keys are used up"},

	authority.ClientAuthenticationFailed: {http.StatusUnauthorized, codeInvalidClient, http.StatusBadRequest, "010-019", "client authentication failed"},
	authority.NoSuchClient:               {http.StatusBadRequest, codeInvalidRequest, http.StatusNotFound, "003-061", "there is no such client"},
	authority.NoSuchUser:                 {http.StatusNotFound, "not_found", http.StatusNotFound, "003-002", "there is no such user"},
	authority.RequestExpired:             {http.StatusBadRequest, "invalid_request_uri", http.StatusBadRequest, "0", "the request is over: begin again"},
	authority.RequestUsed:                {http.StatusBadRequest, "invalid_request_uri", http.StatusBadRequest, "0", "the request was answered before"},
	authority.NoSession:                  {http.StatusUnauthorized, "login_required", http.StatusUnauthorized, "002-016", "there is no session: sign in"},
	authority.WrongCredentials:           {http.StatusBadRequest, codeInvalidGrant, http.StatusUnauthorized, "003-001", "wrong username or password"},
	authority.AccountDisabled:            {http.StatusBadRequest, codeAccessDenied, http.StatusUnauthorized, "010-026", "the account is disabled"},
	authority.UsernameTaken:              {http.StatusBadRequest, codeInvalidRequest, http.StatusUnprocessableEntity, "003-003", "the user name is taken"},
	authority.InvalidToken:               {http.StatusUnauthorized, codeInvalidToken, http.StatusUnprocessableEntity, "002-016", "the token is invalid, expired or revoked"},
	authority.Unavailable:                {http.StatusServiceUnavailable, codeUnavailable, http.StatusTeapot, "004-001", "try again in a moment"},
	authority.ServerError:                {http.StatusInternalServerError, codeServerError, http.StatusTeapot, "004-001", "Something went wrong."},
	authority.Busy:                       {http.StatusTooManyRequests, "too_many_requests", http.StatusTooManyRequests, "0", "too many requests: try again in a moment"},

	authority.StreamDenied:  {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "the NATS servers do not let this process create the stream or append the event: give its user the permission"},
	authority.StreamRefused: {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "the NATS servers refused the stream, or it is not what the log needs: the log of this process says why"},

	rules.LoginRequired:            {http.StatusBadRequest, "login_required", http.StatusUnauthorized, "002-016", "the person must sign in"},
	rules.AccountSelectionRequired: {http.StatusBadRequest, "account_selection_required", http.StatusUnauthorized, "002-016", "the person must choose an account"},
	rules.ConsentRequired:          {http.StatusBadRequest, "consent_required", http.StatusUnauthorized, "010-026", "the person must agree"},
	rules.AccessDenied:             {http.StatusForbidden, codeAccessDenied, http.StatusUnauthorized, "010-026", "the person did not agree"},

	rules.AuthorizationPending: {http.StatusBadRequest, "authorization_pending", http.StatusBadRequest, "0", "the person has not answered yet: poll on"},
	rules.SlowDown:             {http.StatusBadRequest, "slow_down", http.StatusTooManyRequests, "0", "polls come too often: add 5 seconds to the interval"},
	rules.DeviceDenied:         {http.StatusBadRequest, codeAccessDenied, http.StatusUnauthorized, "010-026", "the person did not agree"},
	rules.DeviceCodeExpired:    {http.StatusBadRequest, "expired_token", http.StatusBadRequest, "010-023", "the device waited for too long: begin again"},
	rules.InvalidDeviceCode:    {http.StatusBadRequest, codeInvalidGrant, http.StatusBadRequest, "010-023", "the device code is invalid, used, revoked, or of another client"},
	rules.UnknownUserCode:      {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "not a code that a device waits with"},

	rules.MissingParameter:     {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "required"},
	rules.BadParameter:         {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "not a valid value"},
	rules.UnauthorizedClient:   {http.StatusBadRequest, codeUnauthorizedClient, http.StatusUnprocessableEntity, "003-020", "the client may not do this"},
	rules.InvalidScope:         {http.StatusBadRequest, codeInvalidScope, http.StatusUnprocessableEntity, "0", "more than the client or the grant may have"},
	rules.InvalidTarget:        {http.StatusBadRequest, codeInvalidTarget, http.StatusUnprocessableEntity, "0", "not a target that the client or the grant may have"},
	rules.RedirectNotAllowed:   {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "010-023", "not registered for the client"},
	rules.ChallengeRequired:    {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "0", "PKCE with S256 is required"},
	rules.InvalidCode:          {http.StatusBadRequest, codeInvalidGrant, http.StatusBadRequest, "010-023", "the code is invalid, expired, used, or not for this request"},
	rules.InvalidRefreshToken:  {http.StatusBadRequest, codeInvalidGrant, http.StatusBadRequest, "010-023", "the refresh token is invalid, expired, revoked or used"},
	rules.InvalidSubjectToken:  {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "010-023", "the token is invalid, expired or revoked"},
	rules.InvalidActorToken:    {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "010-023", "the token is invalid, expired or revoked"},
	rules.ExchangeNotAllowed:   {http.StatusBadRequest, codeInvalidRequest, http.StatusUnprocessableEntity, "003-020", "the token may not be used like this"},
	rules.TokenOfAnotherClient: {http.StatusBadRequest, codeInvalidRequest, http.StatusBadRequest, "010-023", "not a token of this client"},
	rules.InvalidBearer:        {http.StatusUnauthorized, codeInvalidToken, http.StatusUnauthorized, "002-016", "the token is invalid, expired, revoked or not for this"},
	rules.FirstPartyRequired:   {http.StatusForbidden, codeAccessDenied, http.StatusForbidden, "010-026", "only for the installation's own applications"},
	rules.InsufficientScope:    {http.StatusForbidden, codeInsufficientScope, http.StatusForbidden, "010-026", "the token is not for this: it needs another scope"},
	rules.BehindTheToken:       {http.StatusServiceUnavailable, codeUnavailable, http.StatusTeapot, "004-001", "try again in a moment"},
	rules.AlreadyExists:        {http.StatusConflict, "already_exists", http.StatusUnprocessableEntity, "003-003", "already exists"},
	rules.NotFound:             {http.StatusNotFound, "not_found", http.StatusNotFound, "003-061", "there is no such thing"},
	rules.Conflict:             {http.StatusConflict, "conflict", http.StatusUnprocessableEntity, "0", "not possible in the present state"},
}

// failures are the reasons that a person is told in other words than that the
// application made a mistake.
var failures = map[rules.Reason]pages.Failure{
	authority.NoSuchClient:   pages.UnknownClient,
	authority.RequestExpired: pages.Expired,
	authority.RequestUsed:    pages.Expired,
	authority.Busy:           pages.TooMany,
	forgedForm:               pages.ForgedForm,
	registrationClosed:       pages.NotFound,
	noRoute:                  pages.NotFound,
}
