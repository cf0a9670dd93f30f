//go:build tools

package skyrealm

import (
	_ "github.com/alecthomas/kong"
	_ "github.com/go-chi/chi/v5"
	_ "github.com/go-jose/go-jose/v4"
	_ "github.com/go-jose/go-jose/v4/jwt"
	_ "github.com/go-ldap/ldap/v3"
	_ "github.com/golang-migrate/migrate/v4"
	_ "github.com/golang-migrate/migrate/v4/database/pgx/v5"
	_ "github.com/golang-migrate/migrate/v4/source/iofs"
	_ "github.com/google/uuid"
	_ "github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jcmturner/gokrb5/v8/client"
	_ "github.com/jcmturner/gokrb5/v8/keytab"
	_ "github.com/jcmturner/gokrb5/v8/messages"
	_ "github.com/jcmturner/gokrb5/v8/pac"
	_ "github.com/oiweiwei/go-msrpc/msrpc/pac"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/rogpeppe/go-internal/testscript"
	_ "github.com/vjeantet/ldapserver"
	_ "golang.org/x/crypto/md4"
	_ "golang.org/x/term"
	_ "golang.org/x/text/unicode/norm"
	_ "golang.org/x/time/rate"
	_ "golang.org/x/net/ipv4"
	_ "golang.org/x/sys/unix"
	_ "github.com/lor00x/goldap/message"
)
