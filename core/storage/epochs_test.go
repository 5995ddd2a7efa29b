package storage

import (
	"fmt"
	"testing"

	"github.com/milldam/milldam/core/record"
)

func TestWhereEpochsEnd(t *testing.T) {
	e := epochs{}.with(2, 10).with(5, 20)
	for epoch, want := range map[record.LeaderEpoch]string{
		-2: "-2 10", // as Kafka answers
		-1: "-1 -1",
		0:  "0 10", // its records are gone
		2:  "2 20",
		4:  "2 20",
		5:  "5 30",
		6:  "5 30",
	} {
		found, end := e.end(epoch, 30)
		if got := fmt.Sprint(found, end); got != want {
			t.Errorf("epoch %d: %s, want %s", epoch, got, want)
		}
	}
	if found, end := (epochs{}).end(0, 30); found != -1 || end != -1 {
		t.Errorf("of no epochs: %d %d", found, end)
	}
}
