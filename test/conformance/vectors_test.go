package conformance

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// digest is a text that the real agent's library or the document yields for a
// password.
type digest struct{ password, text string }

// digests are the vectors 1, 3, 4, 5 and 6 of entra-wire §B. (2 is the empty
// password, with which nobody signs in.)
var digests = []digest{
	{"Pa$$w0rd", "v1;PPH1_MD4,181a3024085fcee2f70e,1000,b39525c3bc72a1136fcf7c8a338e0c14313d0450d1a4c98ef0a6ddada3bc5b0a;"},
	{"Pa$$w0rd", "v1;PPH1_MD4,317ee9d1dec6508fa510,1000,7eaea8e1628dffee62cf319f4e1fc05254da30a1d42ff755ff352f5b13497531;"},
	{"Passw0rd", "v1;PPH1_MD4,00010203040506070809,1000,3b24b660a883037d6344a410913fc80403be6f079f77db1284c8d267e984bb48;"},
	{"pässwörd-€", "v1;PPH1_MD4,b477124de54c2030378f,1000,4fa3202140065066310625e79f7e38a42d8f8a3aee12cbac305c3f52532c2c99;"},
	{"correct horse battery staple", "v1;PPH1_MD4,000102030405060708090a0b0c0d0e0f,1000,34ed5fd39c11e3c00189e523149d493f5060e4388ed39c1ccc9f5d30a3f59480;"},
}

// Those that are well-formed and sign nobody in.
var (
	emptyDigest = digest{"", "v1;PPH1_MD4,01cda06eceb9d9bc2621,1000,9d4fc778add44776555d3fa6ccb4f9637f25e34a62dbc5fa0f782ef8c762c902;"}
	// The negative control: PBKDF2 over the NT hash in lower-case hex.
	lowerDigest = digest{"Pa$$w0rd", "v1;PPH1_MD4,181a3024085fcee2f70e,1000,dfd0a0d6369b0879eae38f961546a10c9b58cf8cd9c5b0613b9c4c8757e4b00e;"}
)

func testDigestVectors(t *testing.T, w *world) {
	token := w.agentToken(t)
	all := append(digests[:len(digests):len(digests)], emptyDigest, lowerDigest)
	var users, hashes []string
	for i, v := range all {
		anchor := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "digest %d", i))
		users = append(users, fmt.Sprintf(`{"type":"user","operation":"set","sourceAnchor":%q,"attributes":{"userPrincipalName":"digest%d@contoso.test","displayName":"Digest %d"}}`, anchor, i, i))
		hashes = append(hashes, fmt.Sprintf(`{"sourceAnchor":%q,"changeDate":"2026-01-02T03:04:05Z","credentialData":%q}`, anchor, v.text))
	}
	for path, items := range map[string][]string{"/sync/v1/objects:batch": users} {
		if a := w.curl(t, path, asJSON(token, `{"items":[`+strings.Join(items, ",")+`]}`)...); strings.Count(a.text, `"reason":"stored"`) != len(all) {
			t.Fatalf("%s: %d %s", path, a.status, a.text)
		}
	}
	if a := w.curl(t, "/sync/v1/passwordHashes:batch", asJSON(token, `{"items":[`+strings.Join(hashes, ",")+`]}`)...); strings.Count(a.text, `"reason":"stored"`) != len(all) {
		t.Fatalf("hashes: %d %s", a.status, a.text)
	}
	for i, v := range digests {
		upn := fmt.Sprintf("digest%d@contoso.test", i)
		w.signsIn(t, upn, v.password)
		if a := w.signIn(t, upn, v.password+" "); a.status != 400 {
			t.Errorf("%s signs in with another password", upn)
		}
	}
	for i := len(digests); i < len(all); i++ {
		if a := w.signIn(t, fmt.Sprintf("digest%d@contoso.test", i), all[i].password); a.status == 200 {
			t.Errorf("%q with %s signs in", all[i].password, all[i].text)
		}
	}
}

// kerberosVector is what a published document says that string-to-key makes.
type kerberosVector struct {
	name, password, salt string
	iterations           int
	aes128, aes256       string
}

// kerberosVectors are of RFC 3962 appendix B. Those of Windows (entra-wire §C5)
// stand in testdata/people.jsonl.
var kerberosVectors = []kerberosVector{
	{"raeburn1200", "password", "ATHENA.MIT.EDUraeburn", 1200,
		"4c01cd46d632d01e6dbe230a01ed642a", "55a6ac740ad17b4846941051e1e8b0a7548d93b0ab30a8bc3ff16280382b8c2a"},
	{"blocksize", strings.Repeat("X", 64), "pass phrase equals block size", 1200,
		"59d1bb789a828b1aa54ef9c2883f69ed", "89adee3608db8bc71f1bfbfe459486b05618b70cbae22092534e56c553ba4b34"},
	{"overblocksize", strings.Repeat("X", 65), "pass phrase exceeds block size", 1200,
		"cb8005dc5f90179a7f02104c0018751d", "d78c5c9cb872a8c9dad4697f0bb5b2d21496c82beb2caeda2112fceea057401b"},
	{"pianist", "\U0001d11e", "EXAMPLE.COMpianist", 50,
		"f149c1f2e154a73452d43e7fe62a56e5", "4b6d9839f84406df1f09cc166db4b83c571848b784a3d6bdc346589a3e393f9e"},
}

func testKerberosVectors(t *testing.T, w *world) {
	var lines strings.Builder
	for _, v := range kerberosVectors {
		key := func(etype int, hex string) map[string]any {
			return map[string]any{"etype": etype, "salt": v.salt, "iterations": v.iterations, "kvno": 1, "key": hex}
		}
		if err := json.NewEncoder(&lines).Encode(map[string]any{"userPrincipalName": v.name + "@contoso.test", "sAMAccountName": v.name, "displayName": v.name,
			"ntHash": ntHash(v.password), "kerberosKeys": []any{key(17, v.aes128), key(18, v.aes256)}}); err != nil {
			t.Fatal(err)
		}
	}
	w.push(t, file(t, "vectors.jsonl", lines.String()))

	all := append(kerberosVectors[:len(kerberosVectors):len(kerberosVectors)],
		kerberosVector{name: "user02", password: vectorPassword, salt: "ADATUM.COMuser02"},
		kerberosVector{name: "april", password: vectorPassword, salt: "ADATUM.COMApril"})
	for _, v := range all {
		t.Run(v.name, func(t *testing.T) {
			// MIT's client takes no iteration count below AD's (4096) from a KDC.
			strong := v.iterations == 0
			for _, etype := range []string{"aes256-cts-hmac-sha1-96", "aes128-cts-hmac-sha1-96"} {
				conf := []string{"[libdefaults]", "permitted_enctypes = " + etype, "default_tkt_enctypes = " + etype, "default_etypes = " + etype}
				if strong {
					says(t, w.mit(t, conf...).traced(v.password, v.name), `salt "`+v.salt+`"`)
				}
				w.heimdal(t, conf...).kinit(v.password, v.name)
			}
			w.ldap(t, v.name+"@contoso.test", v.password).run("", "ldapwhoami")
			w.signsIn(t, v.name+"@contoso.test", v.password)
		})
	}
}
