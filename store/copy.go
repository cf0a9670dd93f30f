package store

import "encoding/binary"

// copyRows are rows as COPY takes them in its binary format (PostgreSQL documentation,
// COPY, "Binary Format"): of each the number of its fields, then these in their order. To
// write many through pgx, which boxes each value, takes twice as long.
type copyRows []byte

const (
	copyHeader  = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00" // no flags, no extension
	copyTrailer = "\xff\xff"

	// postgresEpoch is 2000-01-01 UTC in microseconds of Unix, from which a timestamptz counts.
	postgresEpoch = 946_684_800_000_000
)

var be = binary.BigEndian

func (r *copyRows) row(fields uint16) { *r = be.AppendUint16(*r, fields) }

func (r *copyRows) int16(v int16) { *r = be.AppendUint16(be.AppendUint32(*r, 2), uint16(v)) }
func (r *copyRows) int32(v int32) { *r = be.AppendUint32(be.AppendUint32(*r, 4), uint32(v)) }
func (r *copyRows) int64(v int64) { *r = be.AppendUint64(be.AppendUint32(*r, 8), uint64(v)) }

func (r *copyRows) bool(v bool) {
	bit := byte(0)
	if v {
		bit = 1
	}
	*r = append(be.AppendUint32(*r, 1), bit)
}

func (r *copyRows) bytes(b []byte) { *r = append(be.AppendUint32(*r, uint32(len(b))), b...) }
func (r *copyRows) text(s string)  { *r = append(be.AppendUint32(*r, uint32(len(s))), s...) }

// field is one that is appended where it stands.
func (r *copyRows) field(add func([]byte) ([]byte, error)) error {
	at := len(*r)
	b, err := add(be.AppendUint32(*r, 0))
	if err != nil {
		return err
	}
	be.PutUint32(b[at:], uint32(len(b)-at-4))
	*r = b
	return nil
}
