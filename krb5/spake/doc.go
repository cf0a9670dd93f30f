// Package spake is the arithmetic and the messages of SPAKE pre-authentication:
// client and KDC agree on a key that depends on the client's password, and
// whoever listens, or plays one of the two without the password, has learned
// nothing that a dictionary could be tried on.
//
//	group.go         groups by number, and what all have in common
//	edwards25519.go  group 1
//	p256.go          group 2
//	secret.go        from the client's key to the keys of a conversation
//	message.go       PA-SPAKE and what is in it
//
// Both sides are here, as each is the other's test. A party is a [Secret], the
// client's long-term key seen through one group:
//
//	T = xG + wM    the KDC's public element, from [Secret.Generate]
//	S = yG + wN    the client's
//	K = x(S - wN) = y(T - wM), from [Secret.Result]
//
// and every key after that comes from K, the transcript of what was said, and
// the body of the request, by [Secret.Key].
//
// Only what is named in RFC 9588 §12.3 for groups 1 and 2 is implemented. Group
// arithmetic is in constant time; it and all checks of points are those of
// filippo.io/edwards25519 and filippo.io/nistec.
//
// References: RFC 9588 (all of it; appendix A has the ASN.1, B the test
// vectors), RFC 6113 §5.1 (PRF+ and the combining of keys).
package spake
