package meta

import (
	"encoding/base64"
	"errors"
	"slices"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

func TestScramKeepsKeysAndNoPassword(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	// The example of RFC 7677: user "user", password "pencil".
	salt, _ := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	salted, _ := base64.StdEncoding.DecodeString("xKSVEDI6tPlSysH6mUQZOeeOp01r6B3fcJbodRPcYV0=")
	failed, err := c.AlterScram(t.Context(), []ScramAlteration{{User: "user", Mechanism: ScramSHA256, Iterations: 4096, Salt: salt, SaltedPassword: salted}})
	must(t, err)
	if len(failed) > 0 {
		t.Fatal(failed)
	}
	must(t, c.Close())
	c = open(t, fs)
	got := c.Image().Scram("user", ScramSHA256)
	stored, server := base64.StdEncoding.EncodeToString(got.StoredKey), base64.StdEncoding.EncodeToString(got.ServerKey)
	if stored != "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" || server != "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=" || got.Iterations != 4096 {
		t.Errorf("stored key %s, server key %s", stored, server)
	}
	if users := c.Image().ScramUsers(); !slices.Equal(users, []string{"user"}) {
		t.Errorf("users: %v", users)
	}
}

func TestScramAlterationsOfAUserAreAllOrNone(t *testing.T) {
	c := open(t, vfs.NewMem())
	good := func(user string, m ScramMechanism) ScramAlteration {
		return ScramAlteration{User: user, Mechanism: m, Iterations: 4096, Salt: []byte("s"), SaltedPassword: []byte("p")}
	}
	weak, strong, empty, unknown := good("weak", ScramSHA256), good("strong", ScramSHA256), good("empty", ScramSHA256), good("unknown", 3)
	weak.Iterations, strong.Iterations, empty.SaltedPassword = 4095, 16385, nil
	failed, err := c.AlterScram(t.Context(), []ScramAlteration{good("weak", ScramSHA512), weak, strong, empty, unknown, good("", ScramSHA256),
		good("twice", ScramSHA256), good("twice", ScramSHA256), {User: "absent", Mechanism: ScramSHA256, Delete: true}, good("fine", ScramSHA256), good("fine", ScramSHA512)})
	must(t, err)
	for user, want := range map[string]error{"weak": ErrUnacceptableCredential, "strong": ErrUnacceptableCredential, "empty": ErrUnacceptableCredential,
		"": ErrUnacceptableCredential, "unknown": ErrUnsupportedMechanism, "twice": ErrDuplicateResource, "absent": ErrUnknownCredential, "fine": nil} {
		if !errors.Is(failed[user], want) {
			t.Errorf("%s: %v, want %v", user, failed[user], want)
		}
	}
	if users := c.Image().ScramUsers(); !slices.Equal(users, []string{"fine"}) {
		t.Errorf("users: %v", users)
	}
	_, err = c.AlterScram(t.Context(), []ScramAlteration{{User: "fine", Mechanism: ScramSHA256, Delete: true}})
	must(t, err)
	if i := c.Image(); i.Scram("fine", ScramSHA256) != nil || i.Scram("fine", ScramSHA512) == nil {
		t.Error("the wrong one was removed")
	}
}
