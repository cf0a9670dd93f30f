// Package oauth owns sign-in: the token endpoints with their grants, the device
// code and the page where a person approves it, the documents by which clients
// find them, and the tokens themselves, made by [Signer] and judged by [Verifier].
// What a good token says of its bearer is a [problem.Caller].
//
// The wire is Entra's and not a textbook's: its error envelope with AADSTS
// numbers, its scope rules, v1.0 access tokens from the v2.0 endpoint.
//
// References: tenant-api §1.2–1.4 and §4; entra-wire §A2 and §F; RFC 6749,
// RFC 7515, RFC 7519, RFC 8628; OpenID Connect Core and Discovery.
package oauth
