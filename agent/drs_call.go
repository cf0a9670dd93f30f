package agent

import (
	"context"

	"github.com/oiweiwei/go-msrpc/msrpc/drsr/drsuapi/v4"
	"github.com/oiweiwei/go-msrpc/ndr"
)

// getNCChanges is the operation IDL_DRSGetNCChanges ([MS-DRSR] §4.1.10) with what
// the library's own leaves out: the reserved part of the place that a reply has
// come to. Samba counts replies of one place in it and starts from the beginning
// when it does not come back, for ever; Entra Connect has the same trouble.
type getNCChanges struct {
	handle     *drsuapi.Handle
	request    *drsuapi.MessageGetNCChangesRequestV8
	reserved   int64 // usnvecFrom.usnReserved
	reply      drsuapi.MessageGetNCChangesReply
	reservedTo int64 // usnvecTo.usnReserved
	code       uint32
	broken     bool // the library could not read the reply
}

func (*getNCChanges) OpNum() int     { return 3 }
func (*getNCChanges) OpName() string { return "IDL_DRSGetNCChanges" }

func (o *getNCChanges) MarshalNDRRequest(ctx context.Context, w ndr.Writer) error {
	const version = 8
	if err := o.handle.MarshalNDR(ctx, w); err != nil {
		return err
	}
	if err := w.WriteData(uint32(version)); err != nil {
		return err
	}
	in := drsuapi.MessageGetNCChangesRequest{Value: &drsuapi.MessageGetNCChangesRequest_V8{V8: o.request}}
	if err := in.MarshalUnionNDR(ctx, &placeWriter{Writer: w, reserved: o.reserved}, version); err != nil {
		return err
	}
	return w.WriteDeferred()
}

func (o *getNCChanges) UnmarshalNDRResponse(ctx context.Context, r ndr.Reader) (err error) {
	// It runs where nobody else recovers, and the library asserts that pointers
	// of one number are of one type (see maxPointers).
	defer func() {
		if recover() != nil {
			o.broken, err = true, errPage
		}
	}()
	var version uint32
	if err := r.ReadData(&version); err != nil {
		return err
	}
	places := &placeReader{Reader: r}
	if err := o.reply.UnmarshalUnionNDR(ctx, places, version); err != nil {
		return err
	}
	o.reservedTo = places.reserved
	if err := r.ReadDeferred(); err != nil {
		return err
	}
	return r.ReadData(&o.code)
}

// The other two are a server's.

func (*getNCChanges) UnmarshalNDRRequest(context.Context, ndr.Reader) error {
	return malformed("a request")
}

func (*getNCChanges) MarshalNDRResponse(context.Context, ndr.Writer) error {
	return malformed("a request")
}

// placeWriter puts the reserved part into usnvecFrom: of the 8-byte integers of
// a request, the second.
type placeWriter struct {
	ndr.Writer
	reserved int64
	seen     int
}

func (w *placeWriter) WriteData(v any) error {
	if _, ok := v.(int64); ok {
		if w.seen++; w.seen == 2 {
			v = w.reserved
		}
	}
	return w.Writer.WriteData(v)
}

// placeReader takes it out of usnvecTo: of the 8-byte integers of a reply, the
// fifth, after the three of usnvecFrom.
type placeReader struct {
	ndr.Reader
	reserved int64
	seen     int
}

func (r *placeReader) ReadData(v any) error {
	err := r.Reader.ReadData(v)
	if n, ok := v.(*int64); ok {
		if r.seen++; r.seen == 5 {
			r.reserved = *n
		}
	}
	return err
}
