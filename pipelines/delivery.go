package pipelines

import (
	"strings"

	"github.com/milldam/milldam/core/config"
)

// decodeDelivery reads the guarantee that a document asks for, and compares it with what each hop can hold.
func (s *Spec) decodeDelivery(n config.Node) config.Errors {
	text, err := n.Text()
	if err != nil {
		return asErrors(n, err)
	}
	switch s.Delivery = Delivery(text); s.Delivery {
	case AtLeastOnce:
		return nil
	case ExactlyOnce:
		return s.checkExactlyOnce(n)
	}
	known := []string{string(AtLeastOnce), string(ExactlyOnce)}
	return config.Errors{n.Errorf("%q is no guarantee%s", text, config.DidYouMean(text, known)).WithHint("one of %s", strings.Join(known, ", "))}
}

// checkExactlyOnce tells which hop cannot hold the guarantee, and why.
func (s *Spec) checkExactlyOnce(n config.Node) config.Errors {
	var errs config.Errors
	if s.Source.Topic != nil && s.Source.Topic.Isolation == ReadUncommitted {
		errs = append(errs, at(s.node, "source", "topic", "isolation").Errorf("with delivery: exactly-once a record of a transaction that is aborted would be processed, and come again").
			WithHint("remove the line, or write read_committed"))
	}
	if s.Source == (Source{}) || s.Sink == (Sink{}) {
		return errs // reported where they should stand
	}
	for _, h := range s.Plan().Hops {
		if h.Guarantee != ExactlyOnce {
			errs = append(errs, n.Errorf("exactly-once cannot hold from topic %s to %s: %s", strings.Join(h.Read, ", "), h.Connector, s.Sink.Connector.Plugin.Repeat).
				WithHint("write at-least-once, or divide the pipeline at a topic: all before it can be exactly once"))
		}
	}
	return errs
}

// guarantee is what a hop holds, and why.
func (s *Spec) guarantee(h Hop) (Delivery, string) {
	once := s.Delivery == ExactlyOnce
	switch {
	case h.Kind == SourceHop && once:
		return ExactlyOnce, "records and the source's position are one transaction"
	case h.Kind == SourceHop:
		return AtLeastOnce, "the source's position is stored after the broker acknowledged the records; a crash between the two sends them again"
	case h.Kind == StreamHop && once:
		return ExactlyOnce, "output, state and offsets are one transaction"
	case h.Kind == StreamHop:
		return AtLeastOnce, "offsets are committed after the output was acknowledged; a crash between the two makes some of it again"
	}
	sink := s.Sink.Connector.Plugin
	why := "offsets are committed after the sink reported the records durable; " + sink.Repeat
	if once && sink.Idempotent {
		return ExactlyOnce, why
	}
	return AtLeastOnce, why
}
