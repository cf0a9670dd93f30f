// Package kdc is the managed domain's Key Distribution Center: Kerberos as
// Active Directory speaks it, over the domain in memory.
//
// [KDC.Handle] is a function from request to reply. Its phases, in order, stand
// in as.go and tgs.go; what they call has one file per subject:
//
//	kdc.go              the KDC, its policy, one request from bytes to bytes
//	as.go, tgs.go       the two exchanges
//	principal.go        names to accounts
//	hide.go             who asks for names that nobody has, and does not hear of it
//	preauth.go          what a client is asked to prove, and preauth_*.go how
//	certificate.go      whose certificates sign whom in
//	anonymous.go        tickets for nobody
//	judge.go            right and wrong passwords, and who waits for that
//	audit.go            what is written down of it
//	cookie.go           proofs that take several rounds
//	fast.go             requests and replies inside armor
//	etypes.go           which key for what
//	u2u.go              tickets under another ticket's session key
//	s4u.go, s4u_*.go    tickets in somebody else's name: delegation
//	keyage.go           from when to when a key is used
//	times.go            how long tickets live, and which flags they carry
//	pac.go              who the PAC says the client is
//	membership.go       of which groups, and whether that is still so
//	restrict.go         when and from where an account may sign in
//	reply.go            ticket and reply, encrypted where they are written
//	replay.go           a request that comes twice
//	error.go            every refusal, on the wire and in the log
//	kpasswd.go          password changes, and kpasswd_*.go: who asks, the reply,
//	                    and a request that comes twice
//	proxy.go            messages that come through HTTPS
//	serve.go            the sockets; udp_linux.go and tcp_linux.go: with fewer calls
//
// Sign-ins touch no database: names, keys and groups come from [domain.Replica].
//
// References: RFC 4120 (the protocol), RFC 3244 (password changes), RFC 6806
// (canonicalization), RFC 3962, RFC 4556, 8636, 8070 (certificates), RFC 8062 (anonymity),
// [MS-KILE] (what Active Directory adds), [MS-PAC], [MS-KKDCP] (HTTPS).
package kdc
