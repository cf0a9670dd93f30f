// Package migrations holds the database schema as numbered steps. A step that
// was released is never edited; a change is a new step.
//
// Each file is applied in one transaction together with the note that it was,
// so a process that is killed within one leaves nothing of it behind. There are
// no steps down: what a new step removes could not be put back, so the way back
// is a restored backup.
package migrations

import "embed"

// FS holds the files, NNNN_name.up.sql.
//
//go:embed *.up.sql
var FS embed.FS
