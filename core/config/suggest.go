package config

import (
	"fmt"
	"slices"
	"strings"
)

// Suggest returns the word of known that is most likely meant by word; false when none is near.
func Suggest(word string, known []string) (string, bool) {
	best, bestDistance := "", min(2+len(word)/5, 4)
	for _, k := range known {
		if strings.EqualFold(k, word) || strings.EqualFold(squash(k), squash(word)) {
			return k, true
		}
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance {
			best, bestDistance = k, d
		}
	}
	if best == "" && len(word) >= 3 {
		// A part of the word: "search" for "elasticsearch".
		i := slices.IndexFunc(known, func(k string) bool { return strings.HasPrefix(k, word) || strings.HasSuffix(k, word) })
		if i >= 0 {
			best = known[i]
		}
	}
	return best, best != ""
}

// DidYouMean returns `, did you mean "x"?` or nothing.
func DidYouMean(word string, known []string) string {
	if s, ok := Suggest(word, known); ok {
		return fmt.Sprintf(", did you mean %q?", s)
	}
	return ""
}

// squash drops what people write in different ways.
func squash(s string) string { return strings.NewReplacer("_", "", "-", "", ".", "").Replace(s) }

// editDistance is the number of insertions, deletions, replacements and swaps of neighbours that turn a into b.
func editDistance(a, b string) int {
	if len(a) > 64 || len(b) > 64 {
		return 64
	}
	var before []int
	prev := make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := prev[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(prev[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, prev = prev, row
	}
	return prev[len(b)]
}

// listWords joins words for a hint and shortens a long list.
func listWords(words []string) string {
	const shown = 12
	if len(words) > shown {
		return strings.Join(words[:shown], ", ") + ", ..."
	}
	return strings.Join(words, ", ")
}
