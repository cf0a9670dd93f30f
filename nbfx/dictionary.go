package nbfx

import (
	_ "embed"
	"strings"
)

// dictionaryText is the table of [MC-NBFS] §2.1: line n, from 0, is the string
// whose id is 2n. Line 212 begins with a space, as .NET has it; line 81 is empty.
//
//go:embed dictionary.txt
var dictionaryText string

// dictionary maps half an id to its string, ids a string to its id.
var (
	dictionary = strings.Split(strings.TrimSuffix(dictionaryText, "\n"), "\n")
	ids        = invert(dictionary)
)

func invert(words []string) map[string]uint32 {
	m := make(map[string]uint32, len(words))
	for i, w := range words {
		m[w] = uint32(2 * i)
	}
	return m
}

// word is the string of an id. Odd ids belong to a session's dictionary
// ([MC-NBFSE] §2.1), and a message of this media type has no session.
func word(id uint32) (string, bool) {
	if id%2 != 0 || id/2 >= uint32(len(dictionary)) {
		return "", false
	}
	return dictionary[id/2], true
}
