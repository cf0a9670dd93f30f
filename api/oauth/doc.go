// Package oauth owns sign-in: the token endpoint with its grants, the documents
// by which clients find it, and the tokens themselves, made by [Signer] and
// judged by [Verifier]. What a good token says of its bearer is a
// [problem.Caller].
//
// The wire is Entra's and not a textbook's: its error envelope with AADSTS
// numbers, its scope rules, v1.0 access tokens from the v2.0 endpoint.
//
// References: tenant-api §1.2–1.4 and §4; entra-wire §A2 and §F; RFC 6749,
// RFC 7515, RFC 7519; OpenID Connect Core and Discovery.
package oauth
