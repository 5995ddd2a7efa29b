package coordinator

import (
	"regexp"
	"slices"
	"time"

	"github.com/milldam/milldam/core/wire"
)

const (
	// maxRegexBytes bounds a regular expression of a subscription. What it may take to match is bounded by RE2, which is linear in the name of the topic.
	maxRegexBytes = 4096
	// regexRefresh is how often the topics are matched anew when there are others, as in Kafka.
	regexRefresh = 10 * time.Second
)

// compileRegex compiles a regular expression that matches whole names.
func compileRegex(regex string) (*regexp.Regexp, *refusal) {
	if len(regex) > maxRegexBytes {
		return nil, refuse(wire.InvalidRegularExpression, "SubscribedTopicRegex is %d bytes long, at most %d are allowed.", len(regex), maxRegexBytes)
	}
	if _, err := regexp.Compile(regex); err != nil {
		return nil, refuse(wire.InvalidRegularExpression, "SubscribedTopicRegex `%s` is not a valid regular expression: %s.", regex, err)
	}
	re, err := regexp.Compile(`\A(?:` + regex + `)\z`)
	if err != nil {
		return nil, refuse(wire.InvalidRegularExpression, "SubscribedTopicRegex `%s` is not a valid regular expression: %s.", regex, err)
	}
	return re, nil
}

// checkRegex tells what is wrong with a regular expression; the empty one is none.
func checkRegex(regex string) *refusal {
	if regex == "" {
		return nil
	}
	_, why := compileRegex(regex)
	return why
}

// regexSeen is with which topics a regular expression was matched last, and when.
type regexSeen struct {
	topics Topics
	at     time.Time
}

// resolveRegex matches the topics with the regular expression of a member when it is new, and from time to time when there are other topics. It tells whether it
// matches others than before. Each heartbeat looks at one expression alone: a group may have as many as members.
func (g *Groups) resolveRegex(x *change, regex string) (changed bool) {
	old, topics, seen := x.state().regexes[regex], g.topics(), x.c.regexes[regex]
	if regex == "" || old != nil && (seen.topics == topics || time.Since(seen.at) < regexRefresh) {
		return false
	}
	now := time.Now()
	if names := matching(regex, topics); old == nil || !slices.Equal(old.topics, names) {
		changed = true
		x.emit(regexFact{regex, &resolvedRegex{topics: names, at: now.UnixMilli()}})
	}
	x.then(func() { x.c.regexes[regex] = regexSeen{topics, now} })
	return changed
}

// matching are the names of topics that match, sorted. A regular expression that came from elsewhere and is none here matches nothing.
func matching(regex string, topics Topics) []string {
	var names []string
	re, why := compileRegex(regex)
	if why != nil {
		return nil
	}
	for name := range topics.Names() {
		if re.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// dropRegexIfLast removes the record of a regular expression that no member has any more.
func (x *change) dropRegexIfLast(regex string) {
	st := x.state()
	if regex == "" || st.regexes[regex] == nil {
		return
	}
	for _, m := range st.members {
		if m.regex == regex {
			return
		}
	}
	x.emit(regexFact{regex: regex})
	x.then(func() { delete(x.c.regexes, regex) })
}
