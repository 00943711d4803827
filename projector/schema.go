package projector

// modelVersion is that of the tables and folds of states.
const modelVersion = 7

// metaSchema is part of every file. The comments are for the operator who
// asks SQLite for .schema.
const metaSchema = `
CREATE TABLE meta (
  stream        TEXT NOT NULL,    -- the stream this was folded from
  created       TEXT NOT NULL,    -- when that stream was created, which tells it from another of its name
  version       INTEGER NOT NULL, -- of tables and folds
  position      INTEGER NOT NULL, -- sequence of the last message folded
  hash          TEXT NOT NULL,    -- SHA-256 chain over every message up to position
  previous_hash TEXT NOT NULL,    -- the same up to position - 1
  clock         TEXT NOT NULL     -- newest of the messages' timestamps
) STRICT;`

// Grants and tokens have random ids. Their rows are kept in the order they came
// in and found through an index: kept in the order of ids, every new one would
// write a page of its own, which took three times as long.
const partitionSchema = metaSchema + `
CREATE TABLE grants (
  id             TEXT PRIMARY KEY,
  seq            INTEGER NOT NULL, -- of the last event folded
  client         TEXT NOT NULL,
  user           TEXT NOT NULL,
  opened_at      TEXT NOT NULL,
  expires        INTEGER NOT NULL, -- Unix seconds; the row goes a minute later
  generation     INTEGER NOT NULL, -- refresh tokens issued, 0 before the code is redeemed
  revoked_reason TEXT,
  revoked_at     TEXT,
  state          TEXT NOT NULL     -- all of it, JSON
) STRICT;
CREATE INDEX grants_by_user ON grants (user, client);
CREATE INDEX grants_by_client ON grants (client);
CREATE INDEX grants_by_expiry ON grants (expires);

CREATE TABLE sessions (
  id      TEXT PRIMARY KEY,
  seq     INTEGER NOT NULL,
  user    TEXT NOT NULL,
  expires INTEGER NOT NULL, -- Unix seconds; the row goes a minute later
  state   TEXT NOT NULL     -- all of it but its end, which is a revocation, JSON
) STRICT;
CREATE INDEX sessions_by_user ON sessions (user);
CREATE INDEX sessions_by_expiry ON sessions (expires);

-- access tokens outside a grant's rotation: client credentials, token exchange
CREATE TABLE issued (
  jti       TEXT PRIMARY KEY,
  seq       INTEGER NOT NULL,
  client    TEXT NOT NULL,
  subject   TEXT NOT NULL,
  issued_at INTEGER NOT NULL, -- Unix seconds
  expires   INTEGER NOT NULL, -- Unix seconds
  scope     TEXT NOT NULL,    -- separated by spaces
  audience  TEXT NOT NULL,    -- separated by spaces
  kid       TEXT NOT NULL,
  grant_id  TEXT,             -- grant that an exchanged token comes from, if any
  parent    TEXT,             -- jti that it was exchanged for
  actor     TEXT              -- who acts for its subject
) STRICT;
CREATE INDEX issued_by_expiry ON issued (expires);

CREATE TABLE revocations (
  kind  TEXT NOT NULL,    -- grant, token or session
  id    TEXT NOT NULL,    -- id or jti
  seq   INTEGER NOT NULL,
  until INTEGER NOT NULL, -- Unix seconds
  PRIMARY KEY (kind, id)
) STRICT;
CREATE INDEX revocations_by_expiry ON revocations (until);

-- clients that got a grant in a session of this or another partition
CREATE TABLE participants (
  session    TEXT NOT NULL,
  client     TEXT NOT NULL,
  seq        INTEGER NOT NULL, -- of its newest grant's opening
  user       TEXT NOT NULL,
  subject    TEXT NOT NULL,    -- what the client knows the user by
  user_epoch INTEGER NOT NULL,
  expires    INTEGER NOT NULL, -- of the session, Unix seconds; the row goes two hours later
  PRIMARY KEY (session, client)
) STRICT;
CREATE INDEX participants_by_user ON participants (user);
CREATE INDEX participants_by_expiry ON participants (expires);

-- clients that were told that a session of this partition has ended, or given up
CREATE TABLE logouts (
  session   TEXT NOT NULL,
  client    TEXT NOT NULL,
  seq       INTEGER NOT NULL,
  user      TEXT NOT NULL,
  delivered INTEGER NOT NULL,
  attempts  INTEGER NOT NULL,
  status    INTEGER NOT NULL, -- of the client's last answer, 0 for none
  until     INTEGER NOT NULL, -- end of the session, Unix seconds; the row goes two hours later
  PRIMARY KEY (session, client)
) STRICT;
CREATE INDEX logouts_by_user ON logouts (user);
CREATE INDEX logouts_by_expiry ON logouts (until);`

const registrySchema = metaSchema + `
CREATE TABLE clients (
  id         TEXT PRIMARY KEY,
  seq        INTEGER NOT NULL,
  name       TEXT NOT NULL,
  public     INTEGER NOT NULL,
  disabled   INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  updated_at TEXT NOT NULL,
  state      TEXT NOT NULL -- all of it, JSON
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
  id         TEXT PRIMARY KEY,
  seq        INTEGER NOT NULL,
  disabled   INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  created_at TEXT NOT NULL,
  state      TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consents (
  id     TEXT PRIMARY KEY, -- user.client
  seq    INTEGER NOT NULL,
  user   TEXT NOT NULL,
  client TEXT NOT NULL,
  scope  TEXT NOT NULL,    -- separated by spaces, empty once it was withdrawn
  at     TEXT NOT NULL,
  state  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
  id         TEXT PRIMARY KEY,
  seq        INTEGER NOT NULL,
  use        TEXT NOT NULL,    -- sig or mac
  alg        TEXT NOT NULL,
  mac_key    INTEGER NOT NULL, -- id of a MAC key, else 0
  status     TEXT NOT NULL,    -- announced, active, retired, dropped
  changed_at TEXT NOT NULL,
  state      TEXT NOT NULL
) STRICT, WITHOUT ROWID;`
