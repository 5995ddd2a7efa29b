package meta

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"maps"
	"slices"
)

// ScramMechanism is a mechanism of SCRAM (RFC 5802), by its number in the protocol.
type ScramMechanism int8

// The mechanisms.
const (
	ScramSHA256 ScramMechanism = 1
	ScramSHA512 ScramMechanism = 2
)

func (m ScramMechanism) hash() func() hash.Hash {
	if m == ScramSHA512 {
		return sha512.New
	}
	return sha256.New
}

// Bounds of a credential's iterations, as Kafka's.
const (
	minScramIterations = 4096
	maxScramIterations = 16384
)

// ScramCredential is what a server keeps of a password: enough to check it, not enough to know it.
type ScramCredential struct {
	Salt, StoredKey, ServerKey []byte
	Iterations                 int32
}

// scramKey names a credential.
type scramKey struct {
	User      string
	Mechanism ScramMechanism
}

// ScramAlteration sets or, with Delete, removes a user's credential.
type ScramAlteration struct {
	User       string
	Mechanism  ScramMechanism
	Delete     bool
	Iterations int32
	Salt       []byte
	// SaltedPassword is what the client made of the password; it is not kept.
	SaltedPassword []byte
}

func (a ScramAlteration) check(i *Image) error {
	switch {
	case a.User == "":
		return refused(ErrUnacceptableCredential, "Username must not be empty")
	case a.Mechanism != ScramSHA256 && a.Mechanism != ScramSHA512:
		return refused(ErrUnsupportedMechanism, "Unknown SCRAM mechanism")
	case a.Delete:
		if _, there := i.scram[scramKey{a.User, a.Mechanism}]; !there {
			return refused(ErrUnknownCredential, "Attempt to delete a user credential that does not exist")
		}
	case a.Iterations < minScramIterations:
		return refused(ErrUnacceptableCredential, "Too few iterations")
	case a.Iterations > maxScramIterations:
		return refused(ErrUnacceptableCredential, "Too many iterations")
	case len(a.SaltedPassword) == 0:
		return refused(ErrUnacceptableCredential, "Empty salted password")
	}
	return nil
}

func (a ScramAlteration) credential() *ScramCredential {
	if a.Delete {
		return nil
	}
	mac := func(text string) []byte {
		h := hmac.New(a.Mechanism.hash(), a.SaltedPassword)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	stored := a.Mechanism.hash()()
	stored.Write(mac("Client Key"))
	return &ScramCredential{Salt: a.Salt, StoredKey: stored.Sum(nil), ServerKey: mac("Server Key"), Iterations: a.Iterations}
}

// decideScram checks alterations user by user: all of a user's are made or none. failed has the users that get none.
func decideScram(i *Image, list []ScramAlteration) (cmd alterScram, failed map[string]error) {
	failed = map[string]error{}
	seen := map[scramKey]bool{}
	for _, a := range list {
		if failed[a.User] != nil {
			continue
		}
		key := scramKey{a.User, a.Mechanism}
		err := a.check(i)
		if err == nil && seen[key] {
			err = refused(ErrDuplicateResource, "A user credential cannot be altered twice in the same request")
		}
		seen[key] = true
		if err != nil {
			failed[a.User] = err
		}
	}
	for _, a := range list {
		if failed[a.User] == nil {
			cmd.Rows = append(cmd.Rows, scramRow{a.User, a.Mechanism, a.credential()})
		}
	}
	return cmd, failed
}

// AlterScram alters credentials, and tells what is wrong with which user's. Errors of users: ErrUnacceptableCredential, ErrUnsupportedMechanism,
// ErrUnknownCredential, ErrDuplicateResource.
func (c *Controller) AlterScram(ctx context.Context, list []ScramAlteration) (failed map[string]error, err error) {
	c.deciding.Lock()
	defer c.deciding.Unlock()
	cmd, failed := decideScram(c.Image(), list)
	if len(cmd.Rows) == 0 {
		return failed, nil
	}
	return failed, c.write(ctx, cmd)
}

// ScramUsers returns the users that have credentials, sorted.
func (i *Image) ScramUsers() []string {
	users := map[string]bool{}
	for key := range i.scram {
		users[key.User] = true
	}
	return slices.Sorted(maps.Keys(users))
}

// Scram returns a user's credential, nil when there is none.
func (i *Image) Scram(user string, m ScramMechanism) *ScramCredential {
	return i.scram[scramKey{user, m}]
}

// scramRow is one credential in a command or a snapshot; without a credential it is removed.
type scramRow struct {
	User       string
	Mechanism  ScramMechanism
	Credential *ScramCredential
}

func (i *Image) withScram(rows []scramRow) map[scramKey]*ScramCredential {
	all := maps.Clone(i.scram)
	for _, r := range rows {
		if r.Credential == nil {
			delete(all, scramKey{r.User, r.Mechanism})
		} else {
			all[scramKey{r.User, r.Mechanism}] = r.Credential
		}
	}
	return all
}

func (i *Image) scramRows() []scramRow {
	var rows []scramRow
	for key, c := range i.scram {
		rows = append(rows, scramRow{key.User, key.Mechanism, c})
	}
	slices.SortFunc(rows, func(a, b scramRow) int {
		return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Mechanism, b.Mechanism))
	})
	return rows
}
