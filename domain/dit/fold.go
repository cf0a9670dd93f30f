package dit

import (
	"unicode"
	"unicode/utf8"
)

// DIVERGES: AD compares strings with CompareString, which also ignores accents,
// width and kana type ([MS-ADTS] §3.1.1.2.2.4.3). Here only case is ignored, by
// Unicode's simple folding: that "muller" finds "müller" is a convenience in a
// search and a fault where the same comparison decides who someone is.

// fold returns the one rune that stands for all that differ from r by case only.
func fold(r rune) rune {
	if r < utf8.RuneSelf {
		return rune(lower(byte(r)))
	}
	least := r
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		least = min(least, f)
	}
	if least < utf8.RuneSelf { // U+212A KELVIN SIGN, U+017F LONG S
		return rune(lower(byte(least)))
	}
	return least
}

// appendFold appends s with every rune folded. Bytes that are no UTF-8 stay as
// they are, so that different garbage stays different.
func appendFold[S ~string | ~[]byte](dst []byte, s S) []byte {
	for i := 0; i < len(s); {
		if c := s[i]; c < utf8.RuneSelf {
			dst = append(dst, lower(c))
			i++
			continue
		}
		r, n := decodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			dst = append(dst, s[i])
		} else {
			dst = utf8.AppendRune(dst, fold(r))
		}
		i += n
	}
	return dst
}

// FoldEqual reports whether s is folded, in the form that [Normalise] gives a
// DirectoryString, but for case.
func FoldEqual(s, folded string) bool { return foldEqual(s, folded) }

// foldEqual reports whether s folds to folded.
func foldEqual[S ~string | ~[]byte](s S, folded string) bool {
	j := 0
	for i := 0; i < len(s); {
		if j >= len(folded) {
			return false
		}
		if c := s[i]; c < utf8.RuneSelf {
			if lower(c) != folded[j] {
				return false
			}
			i++
			j++
			continue
		}
		r, n := decodeRune(s[i:])
		f, m := utf8.DecodeRuneInString(folded[j:])
		if r == utf8.RuneError && n == 1 {
			if folded[j] != s[i] {
				return false
			}
			m = 1
		} else if fold(r) != f {
			return false
		}
		i += n
		j += m
	}
	return j == len(folded)
}

func decodeRune[S ~string | ~[]byte](s S) (rune, int) {
	// A rune takes four bytes at most; the copy keeps both kinds of S free of
	// conversions.
	var b [utf8.UTFMax]byte
	return utf8.DecodeRune(b[:copy(b[:], s)])
}

// validUTF8 is utf8.Valid for both kinds of S.
func validUTF8[S ~string | ~[]byte](s S) bool {
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := decodeRune(s[i:])
		if r == utf8.RuneError && n == 1 {
			return false
		}
		i += n
	}
	return true
}
