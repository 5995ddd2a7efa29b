package meta

import (
	"errors"
	"testing"

	"github.com/milldam/milldam/core/vfs"
)

func TestQuotaPrecedenceIsKafkas(t *testing.T) {
	u, c := Named("u"), Named("c")
	both, user, client := QuotaEntity{User: u, ClientID: c}, QuotaEntity{User: u}, QuotaEntity{ClientID: c}
	// From the one that wins last on: each takes the place of all before it.
	ctl := open(t, vfs.NewMem())
	for at, tc := range []struct{ entity, counted QuotaEntity }{
		{QuotaEntity{ClientID: DefaultName}, client}, {client, client}, {QuotaEntity{User: DefaultName}, user}, {QuotaEntity{User: DefaultName, ClientID: DefaultName}, both},
		{QuotaEntity{User: DefaultName, ClientID: c}, both}, {user, user}, {QuotaEntity{User: u, ClientID: DefaultName}, both}, {both, both},
	} {
		must(t, ctl.AlterQuota(t.Context(), tc.entity, []QuotaOp{{Key: ProducerByteRate, Value: float64(at + 1)}}, false))
		who, limit, ok := ctl.Image().ClientQuota("u", "c", ProducerByteRate)
		if !ok || limit != float64(at+1) || who != tc.counted {
			t.Errorf("with a quota of %+v: %v of %+v, want it of %+v", tc.entity, limit, who, tc.counted)
		}
	}
	if _, _, ok := ctl.Image().ClientQuota("u", "c", ConsumerByteRate); ok {
		t.Error("there is a quota of another kind")
	}
	if _, limit, _ := ctl.Image().ClientQuota("other", "else", ProducerByteRate); limit != 4 {
		t.Errorf("another user has %v, want the default's 4", limit)
	}
}

func TestQuotasSurviveARestart(t *testing.T) {
	fs := vfs.NewMem()
	c := open(t, fs)
	must(t, c.AlterQuota(t.Context(), QuotaEntity{IP: DefaultName}, []QuotaOp{{Key: ConnectionCreationRate, Value: 5}}, false))
	must(t, c.AlterQuota(t.Context(), QuotaEntity{IP: Named("10.0.0.1")}, []QuotaOp{{Key: ConnectionCreationRate, Value: 7}}, false))
	must(t, c.AlterQuota(t.Context(), QuotaEntity{User: Named("u")}, []QuotaOp{{Key: RequestPercentage, Value: 0.5}}, false))
	must(t, c.AlterQuota(t.Context(), QuotaEntity{User: Named("u")}, []QuotaOp{{Key: RequestPercentage, Remove: true}}, false))
	must(t, c.AlterQuota(t.Context(), QuotaEntity{User: Named("dry")}, []QuotaOp{{Key: RequestPercentage, Value: 1}}, true))
	must(t, c.Close())
	i := open(t, fs).Image()
	if limit, ok := i.ConnectionQuota("10.0.0.2"); !ok || limit != 5 {
		t.Errorf("an address without its own: %v", limit)
	}
	if limit, _ := i.ConnectionQuota("10.0.0.1"); limit != 7 {
		t.Errorf("an address with its own: %v", limit)
	}
	if list := i.Quotas(); len(list) != 2 {
		t.Errorf("quotas: %v", list)
	}
}

func TestQuotasThatMakeNoSenseAreRefused(t *testing.T) {
	c := open(t, vfs.NewMem())
	user, ip := QuotaEntity{User: Named("u")}, QuotaEntity{IP: Named("10.0.0.1")}
	for name, tc := range map[string]struct {
		entity QuotaEntity
		op     QuotaOp
	}{
		"of nobody":               {QuotaEntity{}, QuotaOp{Key: ProducerByteRate, Value: 1}},
		"of an empty user":        {QuotaEntity{User: Named("")}, QuotaOp{Key: ProducerByteRate, Value: 1}},
		"of a user at an address": {QuotaEntity{User: Named("u"), IP: Named("10.0.0.1")}, QuotaOp{Key: ConnectionCreationRate, Value: 1}},
		"of no address":           {QuotaEntity{IP: Named("here")}, QuotaOp{Key: ConnectionCreationRate, Value: 1}},
		"an unknown one":          {user, QuotaOp{Key: "rate", Value: 1}},
		"of nothing":              {user, QuotaOp{Key: ProducerByteRate}},
		"below nothing":           {user, QuotaOp{Key: ProducerByteRate, Value: -1}},
		"half a byte":             {user, QuotaOp{Key: ProducerByteRate, Value: 0.5}},
		"connections of a user":   {user, QuotaOp{Key: ConnectionCreationRate, Value: 1}},
		"bytes of an address":     {ip, QuotaOp{Key: ProducerByteRate, Value: 1}},
	} {
		if err := c.AlterQuota(t.Context(), tc.entity, []QuotaOp{tc.op}, false); !errors.Is(err, ErrInvalidRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
