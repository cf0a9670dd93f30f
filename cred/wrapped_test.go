package cred

import (
	"crypto/rand"
	"errors"
	"testing"
	"time"
)

func TestWrap(t *testing.T) {
	private, l := testKey(t), testLegacy(t)
	envelope, err := NewEnvelopeKey("contoso.test", time.Unix(1_795_000_000, 0), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o := Opener{Private: private, Envelope: envelope}
	nt, err := SealEnvelope(envelope.CertificateDER(), AttrUnicodePwd, l.NT.Expose(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	properties, err := NewUserProperties(l.Keys)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := SealEnvelope(envelope.CertificateDER(), AttrSupplementalCredentials, properties.Marshal(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		legacy, supplemental []byte
		want                 Legacy
	}{
		"both":         {nt, keys, l},
		"NT hash":      {nt, nil, Legacy{NT: l.NT}},
		"supplemental": {nil, keys, Legacy{Keys: l.Keys}},
	} {
		sealed, err := private.Public().Wrap(testBinding, c.legacy, c.supplemental, rand.Reader)
		if err != nil {
			t.Fatal(name, err)
		}
		got, err := o.Open(testBinding, sealed)
		if err != nil || !got.SamePassword(c.want) {
			t.Errorf("%s: %v", name, err)
		}
		// Bound to its user, its tenant and its date, as a JWE of hashes is.
		for what, change := range map[string]func(*Binding){
			"user": func(b *Binding) { b.Subject = "other" }, "tenant": func(b *Binding) { b.Tenant = "other" }, "rollback": func(b *Binding) { b.Version++ },
		} {
			b := testBinding
			change(&b)
			if _, err := o.Open(b, sealed); !errors.Is(err, ErrUnsealable) {
				t.Errorf("%s opens for another %s: %v", name, what, err)
			}
		}
		// Without the envelope key, or as the other kind, nothing opens.
		if _, err := (Opener{Private: private}).Open(testBinding, sealed); !errors.Is(err, ErrUnsealable) {
			t.Error(err)
		}
		if _, err := private.Open(testBinding, sealed); !errors.Is(err, ErrUnsealable) {
			t.Error(err)
		}
	}
	// The first kind still opens.
	sealed, err := private.Public().Seal(testBinding, l, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := o.Open(testBinding, sealed); err != nil || !got.Equal(l) {
		t.Error(err)
	}
	for name, f := range map[string]func() error{
		"nothing": func() error { _, err := private.Public().Wrap(testBinding, nil, nil, rand.Reader); return err },
		"too long": func() error {
			_, err := private.Public().Wrap(testBinding, make([]byte, MaxEnvelope+1), nil, rand.Reader)
			return err
		},
		"nobody's": func() error { _, err := private.Public().Wrap(Binding{}, nt, nil, rand.Reader); return err },
	} {
		if f() == nil {
			t.Error(name, "is wrapped")
		}
	}
}
