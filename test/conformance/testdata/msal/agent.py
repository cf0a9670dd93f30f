"""What a sync agent written for the real service does with MSAL: it knows the real
service's names alone, and a proxy (here: a transport) brings it to another server.

usage: agent.py https://HOST:PORT TENANT-ID DOMAIN UPN, the password on standard input
"""
import html.parser
import sys
import urllib.parse

import msal
import requests
from requests.adapters import HTTPAdapter

server, tenant, domain, upn = sys.argv[1:]
password = sys.stdin.readline().rstrip("\n")
CLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
AINT = "1b730954-1685-4b74-9bfd-dac224a7b894"
SYNC = ["https://graph.windows.net/.default"]
GRAPH = ["https://graph.microsoft.com/.default"]
LOGIN = "https://login.microsoftonline.com/"
seen = []  # what was asked


class Proxy(HTTPAdapter):
    """Brings every request to the server, under the name it was meant for."""

    def send(self, request, **kwargs):
        meant = urllib.parse.urlsplit(request.url)
        seen.append(meant.path)
        if meant.netloc != urllib.parse.urlsplit(server).netloc:
            request.headers["Host"] = meant.netloc
            request.url = server + urllib.parse.urlunsplit(("", "") + meant[2:])
        return super().send(request, **kwargs)


def through():
    session = requests.Session()
    session.mount("https://", Proxy())
    return session


class Form(html.parser.HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.fields = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        a = dict(attrs)
        if tag == "input":
            self.fields[a["name"]] = a.get("value", "")


def approve(code, *more):
    """Fills in the pages as a person does."""
    browser = through()
    page = browser.get(LOGIN + "devicelogin")
    for name, value in (("otc", code),) + more:
        fields = Form(page.text).fields
        fields[name] = value
        page = browser.post(LOGIN + "devicelogin", data=fields)
        assert page.status_code == 200, (page.status_code, page.text)
    return page.text


def device(app, scopes, *pages):
    flow = app.initiate_device_flow(scopes)
    assert flow["user_code"] in flow["message"] and "devicelogin" in flow["message"], flow
    flow["interval"] = 1
    polls = []

    def meanwhile(flow):  # called where a poll has found nothing yet
        if not polls:
            approve(flow["user_code"], *pages)
        polls.append(1)
        return False

    result = app.acquire_token_by_device_flow(flow, exit_condition=meanwhile)
    assert polls, "it was approved before it was asked"
    return result


def check(result, audience):
    assert "access_token" in result, result
    import base64, json
    body = result["access_token"].split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert claims["aud"] == audience and claims["upn"] == upn and claims["tid"] == tenant, claims
    return result["access_token"]


# 1. The device flow, then another resource from the same cache.
app = msal.PublicClientApplication(CLI, authority=LOGIN + tenant, http_client=through())
assert app.authority.tenant == tenant and app.authority.device_authorization_endpoint
signed_in = device(app, SYNC, ("loginfmt", upn), ("passwd", password))
check(signed_in, "https://graph.windows.net")
accounts = app.get_accounts()
assert len(accounts) == 1 and accounts[0]["username"] == upn, accounts
asked = len(seen)
check(app.acquire_token_silent(SYNC, accounts[0]), "https://graph.windows.net")
assert len(seen) == asked, "the cached token was not used"
graph = check(app.acquire_token_silent(GRAPH, accounts[0]), "https://graph.microsoft.com")
assert len(seen) > asked
me = through().get("https://graph.microsoft.com/v1.0/me", headers={"Authorization": "Bearer " + graph})
assert me.status_code == 200 and me.json()["userPrincipalName"] == upn, me.text
check(app.acquire_token_silent(SYNC, accounts[0], force_refresh=True), "https://graph.windows.net")

# 2. An unattended start: nothing but a refresh token, and a tenant known by a domain.
refresh = signed_in["refresh_token"]
fresh = msal.PublicClientApplication(CLI, authority=LOGIN + domain, http_client=through())
assert fresh.authority.tenant == tenant, fresh.authority.tenant
assert fresh.get_accounts() == [] and "/common/discovery/instance" in seen, seen
check(fresh.acquire_token_by_refresh_token(refresh, SYNC), "https://graph.windows.net")
accounts = fresh.get_accounts()
assert len(accounts) == 1, accounts
check(fresh.acquire_token_silent(GRAPH, accounts[0]), "https://graph.microsoft.com")

# 3. User name and password, at the server's own name; v1.0 by hand, as AINT has it.
for authority, session in ((server + "/" + tenant, through()), (LOGIN + "organizations", through())):
    ropc = msal.PublicClientApplication(AINT, authority=authority, http_client=session, validate_authority=False)
    check(ropc.acquire_token_by_username_password(upn, password, SYNC), "https://graph.windows.net")
    wrong = ropc.acquire_token_by_username_password(upn, password + "x", SYNC)
    assert wrong["error"] == "invalid_grant" and wrong["error_codes"] == [50126], wrong
v1 = through().post(LOGIN + tenant + "/oauth2/token", data={"grant_type": "password", "resource": "https://graph.windows.net",
    "client_id": AINT, "username": upn, "password": password, "scope": "openid"}).json()
check(v1, "https://graph.windows.net")
assert v1["expires_in"] == "3599" and v1["refresh_token"], v1

# 4. Declined.
declined = device(app, SYNC, ("action", "cancel"))
assert declined["error"] == "authorization_declined", declined

# 5. The password changes: what was signed in with the old one has ended.
changed = through().post("https://graph.microsoft.com/v1.0/me/changePassword", headers={"Authorization": "Bearer " + graph},
    json={"currentPassword": password, "newPassword": password + "-2"})
assert changed.status_code == 204, changed.text
for one in (app, fresh):
    result = one.acquire_token_silent_with_error(SYNC, one.get_accounts()[0], force_refresh=True)
    assert result["error"] == "invalid_grant" and result["error_codes"] == [50173] and result["suberror"] == "bad_token", result
check(ropc.acquire_token_by_username_password(upn, password + "-2", SYNC), "https://graph.windows.net")
print("msal", msal.__version__)
