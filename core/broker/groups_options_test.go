package broker

import (
	"slices"
	"testing"
)

func TestAssignorsMayStandAsKafkasClasses(t *testing.T) {
	got := assignorNames("org.apache.kafka.coordinator.group.assignor.RangeAssignor, uniform")
	if want := []string{"range", "uniform"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
