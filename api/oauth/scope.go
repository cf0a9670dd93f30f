package oauth

import (
	"net/url"
	"slices"
	"strings"

	"skyrealm/api/problem"
)

// grantScopes reads a scope parameter: the resource it is for, what the token's
// scp says, what the answer repeats, and which other tokens are wanted.
type grantScopes struct {
	audience string
	granted  []string
	echo     []string
	openID   bool
	offline  bool // a refresh token is wanted
	onlyApp  bool // nothing but RESOURCE/.default (and OIDC's own words)
}

// readScopes reads the shapes that clients send (tenant-api §1.3): RESOURCE/name,
// RESOURCE//.default from a resource that ends in a slash, APPID/.default, and a
// bare name, which is Graph's. host is the one that the client calls us by.
func readScopes(scope, host string) (grantScopes, *oauthError) {
	out := grantScopes{audience: graphID, onlyApp: true}
	resource := ""
	for _, one := range strings.Fields(scope) {
		switch strings.ToLower(one) {
		case "offline_access":
			out.offline = true // and not repeated: it is no right to anything
			continue
		case "openid", "profile", "email":
			out.openID = out.openID || strings.EqualFold(one, "openid")
			out.granted, out.echo = append(out.granted, one), append(out.echo, one)
			continue
		}
		r, name := graphID, one
		if at := strings.LastIndexByte(one, '/'); at >= 0 {
			r, name = strings.TrimSuffix(one[:at], "/"), one[at+1:]
		}
		audience, ok := audienceOf(r, host)
		if !ok {
			return out, badResource(r)
		}
		if name == "" || resource != "" && resource != audience {
			return out, badScope(scope) // one token is for one resource
		}
		resource, out.audience = audience, audience
		// Repeated as it came: MSAL Go calls a shorter name a declined scope (§1.2).
		out.echo = append(out.echo, one)
		if strings.EqualFold(name, ".default") {
			name = problem.FullScope
		} else {
			out.onlyApp = false
		}
		if !slices.Contains(out.granted, name) {
			out.granted = append(out.granted, name)
		}
	}
	out.onlyApp = out.onlyApp && resource != ""
	return out, nil
}

// maxScope bounds what is kept of a device's request.
const maxScope = 4096

// resourceScope says in the words of the v2.0 endpoint what a v1.0 request asks
// for: all of one resource, and always a refresh token. Without a resource it is
// the old directory API, as in the real service.
func resourceScope(resource, scope string) (string, *oauthError) {
	if resource == "" {
		resource = aadURI
	}
	if strings.ContainsAny(resource, " \t\r\n\v\f") {
		return "", badResource(resource)
	}
	out := strings.TrimSuffix(resource, "/") + "/.default offline_access"
	for _, one := range strings.Fields(scope) {
		switch strings.ToLower(one) {
		case "openid", "profile", "email":
			out += " " + one
		}
	}
	return out, nil
}

// audienceOf returns the audience for a resource: the well-known names of the
// directory's APIs, or this very server under the name the client uses.
func audienceOf(resource, host string) (string, bool) {
	lower := strings.ToLower(resource)
	if slices.Contains(audiences, lower) {
		return lower, true
	}
	u, err := url.Parse(lower)
	if err != nil || u.Scheme != "https" || u.Path != "" || u.RawQuery != "" || u.User != nil {
		return "", false
	}
	here := &url.URL{Host: strings.ToLower(host)}
	return graphID, u.Hostname() == here.Hostname() || u.Hostname() == "graph."+here.Hostname()
}
