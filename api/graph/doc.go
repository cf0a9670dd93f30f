// Package graph is the part of Microsoft Graph that is served, under /v1.0 and
// /beta alike: creating, reading and listing users, listing groups and devices,
// a user's own password change, an administrator's reset.
//
// Property names in bodies count without regard to case, @odata.type is ignored
// and null is unset, because the clients differ (tenant-api §1.3).
//
// References: tenant-api §2.1–2.3 and §2.8; entra-wire §F.
package graph
