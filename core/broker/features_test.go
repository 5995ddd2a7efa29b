package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/milldam/milldam/core/vfs"
	"github.com/milldam/milldam/core/wire"
)

// ask sends req by itself, at its version, and returns what is answered.
func ask[R kmsg.Response](t testing.TB, r *running, req kmsg.Request) R {
	t.Helper()
	conn := r.dial(t)
	defer conn.Close()
	write(t, conn, req)
	resp := req.ResponseKind()
	must(t, readResponse(conn, resp))
	return resp.(R)
}

func TestApiVersionsTellsTheFeatures(t *testing.T) {
	r := start(t, vfs.NewMem())
	versions := func(version int16) *kmsg.ApiVersionsResponse {
		req := kmsg.NewPtrApiVersionsRequest()
		req.ClientSoftwareName, req.ClientSoftwareVersion = "test-client", "1.0.0"
		req.SetVersion(version)
		return ask[*kmsg.ApiVersionsResponse](t, r, req)
	}
	for _, f := range versions(3).SupportedFeatures {
		if f.MinVersion == 0 {
			t.Errorf("version 3 has %s from level 0 on, which clients of it cannot read", f.Name)
		}
	}
	v4 := versions(4)
	finalized := map[string]int16{}
	for _, f := range v4.FinalizedFeatures {
		finalized[f.Name] = f.MaxVersionLevel
	}
	if v4.FinalizedFeaturesEpoch != 1 || finalized["metadata.version"] != 30 || len(v4.SupportedFeatures) < len(finalized) {
		t.Errorf("supported %v, finalised %v in epoch %d", v4.SupportedFeatures, finalized, v4.FinalizedFeaturesEpoch)
	}
	if v2 := versions(2); len(v2.ApiKeys) != len(wire.Served()) || v2.FinalizedFeatures != nil {
		t.Errorf("version 2: %+v", v2)
	}
	req := kmsg.NewPtrApiVersionsRequest()
	req.ClientSoftwareName, req.ClientSoftwareVersion = "test client", "1"
	req.SetVersion(3)
	if resp := ask[*kmsg.ApiVersionsResponse](t, r, req); resp.ErrorCode != int16(wire.InvalidRequest) {
		t.Errorf("a client's name with a space: %+v", resp)
	}
}

func TestUpdateFeaturesAnswersByVersion(t *testing.T) {
	r := start(t, vfs.NewMem())
	for _, tc := range []struct {
		version int16
		level   int16
		want    wire.Code
		rows    int
	}{{0, 30, wire.None, 1}, {1, 30, wire.None, 1}, {2, 30, wire.None, 0}, {1, 31, wire.InvalidUpdateVersion, 0}, {2, 29, wire.InvalidUpdateVersion, 0}} {
		req := kmsg.NewPtrUpdateFeaturesRequest()
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.UpgradeType = "metadata.version", tc.level, 1
		req.FeatureUpdates = append(req.FeatureUpdates, u)
		req.SetVersion(tc.version)
		if resp := ask[*kmsg.UpdateFeaturesResponse](t, r, req); resp.ErrorCode != int16(tc.want) || len(resp.Results) != tc.rows || (resp.ErrorMessage != nil) != (tc.want != 0) {
			t.Errorf("version %d, level %d: %+v", tc.version, tc.level, resp)
		}
	}
}
