package spake

import (
	"bytes"
	"encoding/hex"
	"testing"

	"skyrealm/krb5"
	"skyrealm/krb5/etype"
)

// vectors are those of RFC 9588 appendix B for groups 1 and 2. The password is
// "password", the salt "ATHENA.MIT.EDUraeburn". Of the one whose key is triple
// DES, which we don't have, the arithmetic and the transcript count.
var vectors = []struct {
	name  string
	etype etype.ID
	group Group

	key, w, x, y, t, s, k, support, challenge, transcript, body string

	expect [4]string // K'[0] to K'[3]
}{
	{
		name: "DES3 edwards25519", etype: 0, group: Edwards25519,
		key:     "850bb51358548cd05e86768c313e3bfef7511937dcf72c3e",
		w:       "686d84730cb8679ae95416c6567c6a63f2c9cef124f7a3371ae81e11cad42a37",
		x:       "201012d07bfd48ddfa33c4aac4fb1e229fb0d043cfe65ebfb14399091c71a723",
		y:       "500b294797b8b042aca1bedc0f5931a4f52c537b3608b2d05cc8a2372f439f25",
		t:       "18f511e750c97b592acd30db7d9e5fca660389102e6bf610c1bfbed4616c8362",
		s:       "5d10705e0d1e43d5dbf30240ccfbde4a0230c70d4c79147ab0b317edad2f8ae7",
		k:       "25bde0d875f0feb5755f45ba5e857889d916ecf7476f116aa31dc3e037ec4292",
		support: "a0093007a0053003020101",
		challenge: "a1363034a003020101a122042018f511e750c97b592acd30db7d9e5fca660389102e6bf610c1bfbed4616c8362a20930" +
			"073005a003020101",
		transcript: "eaaa08807d0616026ff51c849efbf35ba0ce3c5300e7d486da46351b13d4605b",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020110",
		expect: [4]string{
			"baf12fae7cd958cbf1a29bfbc71f89ce49e03e295d89dafd",
			"64f73dd9c41908206bcec1f719026b574f9d13463d7a2520",
			"0454520b086b152c455829e6baeff78a61dfe9e3d04a895d",
			"4a92260b25e3ef94c125d5c24c3e5bced5b37976e67f25c4",
		},
	},
	{
		name: "RC4 edwards25519", etype: etype.RC4, group: Edwards25519,
		key:     "8846f7eaee8fb117ad06bdd830b7586c",
		w:       "7c86659d29cf2b2ea93bfe79c3cefb8850e82215b3ea6fcd896561d48048f49c",
		x:       "c8a62e7b626f44cad807b2d695450697e020d230a738c5cd5691cc781dce8754",
		y:       "18fe7c1512708c7fd06db270361f04593775bc634ceaf45347e5c11c38aae017",
		t:       "7db465f1c08c64983a19f560bce966fe5306c4b447f70a5bca14612a92da1d63",
		s:       "38f8d4568090148ebc9fd17c241b4cc2769505a7ca6f3f7104417b72b5b5cf54",
		k:       "03e75edd2cd7e7677642dd68736e91700953ac55dc650e3c2a1b3b4acdb800f8",
		support: "a0093007a0053003020101",
		challenge: "a1363034a003020101a12204207db465f1c08c64983a19f560bce966fe5306c4b447f70a5bca14612a92da1d63a20930" +
			"073005a003020101",
		transcript: "f4b208458017de6ef7f6a307d47d87db6c2af1d291b726860f68bc08bfef440a",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020117",
		expect: [4]string{
			"770b720c82384cbb693e85411eedecba",
			"621deec88e2865837c4d3462bb50a1d5",
			"1cc8f6333b9fa3b42662fd9914fbd5bb",
			"edb4032b7fc3806d5211a534dcbc390c",
		},
	},
	{
		name: "AES128 edwards25519", etype: etype.AES128SHA1, group: Edwards25519,
		key:     "fca822951813fb252154c883f5ee1cf4",
		w:       "0d591b197b667e083c2f5f98ac891d3c9f99e710e464e62f1fb7c9b67936f3eb",
		x:       "50be049a5a570fa1459fb9f666e6fd80602e4e87790a0e567f12438a2c96c138",
		y:       "b877afe8612b406d96be85bd9f19d423e95be96c0e1e0b5824127195c3ed5917",
		t:       "9e9311d985c1355e022d7c3c694ad8d6f7ad6d647b68a90b0fe46992818002da",
		s:       "fbe08f7f96cd5d4139e7c9eccb95e79b8ace41e270a60198c007df18525b628e",
		k:       "c2f7f99997c585e6b686ceb62db42f17cc70932def3bb4cf009e36f22ea5473d",
		support: "a0093007a0053003020101",
		challenge: "a1363034a003020101a12204209e9311d985c1355e022d7c3c694ad8d6f7ad6d647b68a90b0fe46992818002daa20930" +
			"073005a003020101",
		transcript: "951285f107c87f0169b9c918a1f51f60cb1a75b9f8bb799a99f53d03add94b5f",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020111",
		expect: [4]string{
			"548022d58a7c47eae8c49dccf6baa407",
			"b2c9ba0e13fc8ab3a9d96b51b601cf4a",
			"69f0ee5fdb6c237e7fcd38d9f87df1bd",
			"78f91e2240b5ee528a5cc8d7cbebfba5",
		},
	},
	{
		name: "AES256 edwards25519", etype: etype.AES256SHA1, group: Edwards25519,
		key:     "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
		w:       "e902341590a1b4bb4d606a1c643cccb3f2108f1b6aa97b381012b9400c9e3f4e",
		x:       "88c6c0a4f0241ef217c9788f02c32d00b72e4310748cd8fb5f94717607e6417d",
		y:       "88b859df58ef5c69bacdfe681c582754eaab09a74dc29cff50b328613c232f55",
		t:       "6f301aacae1220e91be42868c163c5009aeea1e9d9e28afcfc339cda5e7105b5",
		s:       "9e2cc32908fc46273279ec75354b4aeafa70c3d99a4d507175ed70d80b255dda",
		k:       "cf57f58f6e60169d2ecc8f20bb923a8e4c16e5bc95b9e64b5dc870da7026321b",
		support: "a0093007a0053003020101",
		challenge: "a1363034a003020101a12204206f301aacae1220e91be42868c163c5009aeea1e9d9e28afcfc339cda5e7105b5a20930" +
			"073005a003020101",
		transcript: "1c605649d4658b58cbe79a5faf227acc16c355c58b7dade022f90c158fe5ed8e",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020112",
		expect: [4]string{
			"a9bfa71c95c575756f922871524b65288b3f695573ccc0633e87449568210c23",
			"1865a9ee1ef0640ec28ac007391cac624c42639c714767a974e99aa10003015f",
			"e57781513fefdb978e374e156b0da0c1a08148f5eb26b8e157ac3c077e28bf49",
			"008e6487293c3cc9fabbbcdd8b392d6dcb88222317fd7fe52d12fbc44fa047f1",
		},
	},
	{
		name: "AES256 P-256", etype: etype.AES256SHA1, group: P256,
		key:     "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
		w:       "eb2984af18703f94dd5288b8596cd36988d0d4e83bfb2b44de14d0e95e2090bd",
		x:       "935ddd725129fb7c6288e1a5cc45782198a6416d1775336d71eacd0549a3e80e",
		y:       "e07405eb215663abc1f254b8adc0da7a16febaa011af923d79fdef7c42930b33",
		t:       "024f62078ceb53840d02612195494d0d0d88de21feeb81187c71cbf3d01e71788d",
		s:       "021d07dc31266fc7cfd904ce2632111a169b7ec730e5f74a7e79700f86638e13c8",
		k:       "0268489d7a9983f2fde69c6e6a1307e9d252259264f5f2dfc32f58cca19671e79b",
		support: "a0093007a0053003020102",
		challenge: "a1373035a003020102a1230421024f62078ceb53840d02612195494d0d0d88de21feeb81187c71cbf3d01e71788da209" +
			"30073005a003020101",
		transcript: "20ad3c1a9a90fc037d1963a1c4bfb15ab4484d7b6cf07b12d24984f14652de60",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020112",
		expect: [4]string{
			"7d3b906f7be49932db22cd3463f032d06c9c078be4b1d076d201fc6e61ef531e",
			"17d74e36f8993841fbb7feb12fa4f011243d3ae4d2ace55b39379294bbc4db2c",
			"d192c9044081a2aa6a97a6c69e2724e8e5671c2c9ce073dd439cdbaf96d7dab0",
			"41e5bad6b67f12c53ce0e2720dd6a9887f877bf9463c2d5209c74c36f8d776b7",
		},
	},
	{
		name: "AES256 edwards25519, optimistic challenge", etype: etype.AES256SHA1, group: Edwards25519,
		key: "01b897121d933ab44b47eb5494db15e50eb74530dbdae9b634d65020ff5d88c1",
		w:   "e902341590a1b4bb4d606a1c643cccb3f2108f1b6aa97b381012b9400c9e3f4e",
		x:   "70937207344cafbc53c8a55070e399c584cbafce00b836980dd4e7e74fad2a64",
		y:   "785d6801a2490df028903ac6449b105f2ff0db895b252953cdc2076649526103",
		t:   "83523b35f1565006cbfc4f159885467c2fb9bc6fe23d36cb1da43d199f1a3118",
		s:   "2a8f70f46cee9030700037b77f22cec7970dcc238e3e066d9d726baf183992c6",
		k:   "d3c5e4266aa6d1b2873a97ce8af91c7e4d7a7ac456acced7908d34c561ad8fa6",
		challenge: "a1363034a003020101a122042083523b35f1565006cbfc4f159885467c2fb9bc6fe23d36cb1da43d199f1a3118a20930" +
			"073005a003020101",
		transcript: "26f07f9f8965307434d11ea855461d41e0cbabcc0a1bab48ecee0c6c1a4292b7",
		body: "3075a00703050000000000a1143012a003020101a10b30091b077261656275726ea2101b0e415448454e412e4d49542e" +
			"454455a3233021a003020102a11a30181b066b72627467741b0e415448454e412e4d49542e454455a511180f31393730" +
			"303130313030303030305aa703020100a8053003020112",
		expect: [4]string{
			"4569ec08b5de5c3cc19d941725913ace8d74524b521a341dc746acd5c3784d92",
			"0d96ce1a4ac0f2e280a0cfc31742b06461d83d04ae45433db2d80478dd882a4c",
			"58018c19315a1ba5d5bb9813b58029f0aec18a6f9ca59e0847de1c60bc25945c",
			"ed7e9bffd68c54d86fb19cd3c03f317f88a71ad9a5e94c28581d93fc4ec72b6a",
		},
	},
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.name, func(t *testing.T) {
			c := v.group.curve()
			var w [scalarSize]byte
			copy(w[:], unhex(t, v.w))
			x, y, pub, peer := unhex(t, v.x), unhex(t, v.y), unhex(t, v.t), unhex(t, v.s)
			for _, p := range []struct {
				role          Role
				private       []byte
				public, other []byte
			}{{KDC, x, pub, peer}, {Client, y, peer, pub}} {
				if got, err := c.public(p.role, &w, p.private); err != nil || !bytes.Equal(got, p.public) {
					t.Errorf("public element %x %v, expect %x", got, err, p.public)
				}
				if got, err := c.result(p.role, &w, p.private, p.other); err != nil || hex.EncodeToString(got) != v.k {
					t.Errorf("result %x %v, expect %s", got, err, v.k)
				}
			}

			support, challenge := unhex(t, v.support), unhex(t, v.challenge)
			transcript := Transcript([HashSize]byte{}, support, challenge)
			transcript = Transcript(transcript, peer)
			if hex.EncodeToString(transcript[:]) != v.transcript {
				t.Errorf("transcript %x, expect %s", transcript, v.transcript)
			}
			if v.support != "" {
				want := Message{Choice: Support, Groups: []Group{v.group}}
				encodes(t, &want, support)
			}
			encodes(t, &Message{Choice: Challenge, Group: v.group, PublicKey: pub, Factors: []Factor{{Type: SFNone}}}, challenge)

			if v.etype == 0 {
				return
			}
			key, err := etype.StringToKey(v.etype, "password", "ATHENA.MIT.EDUraeburn", 0)
			if err != nil || !bytes.Equal(key.Expose(), unhex(t, v.key)) {
				t.Fatal("not the initial key", err)
			}
			s, err := NewSecret(v.group, key)
			if err != nil || s.w != w {
				t.Fatalf("w %x %v, expect %s", s.w, err, v.w)
			}
			for n, expect := range v.expect {
				k, err := s.Key(uint32(n), unhex(t, v.k), transcript, unhex(t, v.body))
				if err != nil || k.ID() != v.etype || hex.EncodeToString(k.Expose()) != expect {
					t.Errorf("K'[%d] = %x %v, expect %s", n, k.Expose(), err, expect)
				}
			}
		})
	}
}

// encodes checks that a message has this encoding, and that it reads back.
func encodes(t *testing.T, m *Message, expect []byte) {
	t.Helper()
	got := krb5.Encode(m)
	if !bytes.Equal(got, expect) {
		t.Errorf("encoded %x, expect %x", got, expect)
	}
	var back Message
	if err := back.Unmarshal(expect); err != nil || !bytes.Equal(krb5.Encode(&back), expect) {
		t.Errorf("%x does not read back: %v", expect, err)
	}
}
