"""Somebody who uses the console without scripts: opens pages, fills in the forms that are on them, and sends them."""

from html.parser import HTMLParser
from urllib.parse import urlencode, urlsplit

import attrs

from quay.testdata.people import PASSWORD

VOID = {"br", "hr", "img", "input", "link", "meta"}


@attrs.define
class Form:
    """A form of a page: where it goes, its fields with their values, and what is written on it."""

    action: str
    method: str
    fields: list
    names: set
    text: str = ""
    buttons: list = attrs.Factory(list)

    def pressed(self, value):
        """What the button sends whose value begins so."""
        (button,) = [each for each in self.buttons if each.get("value", "").startswith(value)]
        sent = [*self.fields, (button["name"], button["value"])]
        return attrs.evolve(self, action=button.get("formaction", self.action), fields=sent)

    def first(self, name):
        return next((value for key, value in self.fields if key == name), None)


class Page(HTMLParser):
    """What the page at `address` has for a reader: `forms`, `links`, `text`, and its `elements` with attributes."""

    def __init__(self, answer, address):
        super().__init__()
        self.address = address
        self.status = answer.status
        self.answer = answer
        self.html = answer.body.decode()
        self.forms, self.links, self.text, self.elements = [], [], "", []
        self._open = None
        self._select = None
        self._area = None
        self._nested = []
        self.feed(self.html)
        assert not self._nested, f"never closed: {self._nested}"

    def handle_starttag(self, tag, attributes):
        known = dict(attributes)
        self.elements.append((tag, known))
        if tag not in VOID:
            self._nested.append(tag)
        if tag == "a" and "href" in known:
            self.links.append(known["href"])
        elif tag == "form":
            self._open = Form(known.get("action", ""), known.get("method", "get"), [], set())
            self.forms.append(self._open)
        elif self._open is not None:
            self._field(tag, known)

    def _field(self, tag, known):
        if tag == "select":
            self._select = known["name"]
            self._open.names.add(self._select)
        elif tag == "option" and self._select and ("selected" in known or self._open.first(self._select) is None):
            value = known.get("value", "")
            self._open.fields = [each for each in self._open.fields if each[0] != self._select]
            self._open.fields.append((self._select, value))
        elif tag == "button":
            self._open.buttons.append(known)
        elif tag in ("input", "textarea") and known.get("name"):
            self._open.names.add(known["name"])
            if known.get("type") not in ("checkbox", "radio") or "checked" in known:
                self._open.fields.append((known["name"], known.get("value") or ""))
            if tag == "textarea":
                self._area = known["name"]

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self._nested[-1:] == [tag] or tag in VOID, f"</{tag}> in {self._nested}"
        self._nested.pop()
        if tag == "form":
            self._open = None
        elif tag == "select":
            self._select = None
        elif tag == "textarea":
            self._area = None

    def handle_data(self, data):
        self.text += data
        if self._open is not None:
            self._open.text += data
        if self._area:
            written = f"{self._open.first(self._area)}{data}".removeprefix("\n")
            self._open.fields = [(key, written if key == self._area else value) for key, value in self._open.fields]

    def form(self, nickname, **fields):
        """The form of this action that has these values in its fields (`path__x` is the field `path.x`)."""
        wanted = {name.replace("__", "."): value for name, value in fields.items()}
        found = [each for each in self.forms if each.action in (f"/do/{nickname}", f"/do-each/{nickname}")]
        matching = [form for form in found if all(form.first(name) == value for name, value in wanted.items())]
        assert matching, f"no form {nickname} with {wanted} among {[each.action for each in self.forms]}"
        return matching[0]

    def flaws(self):
        """What keeps a page from being read by all: ids that are there twice, labels of nothing, fields without one."""
        ids = [known["id"] for _, known in self.elements if "id" in known]
        labels = {known["for"] for tag, known in self.elements if tag == "label" and "for" in known}
        found = {f"twice: {each}" for each in ids if ids.count(each) > 1}
        found |= {f"no field: {each}" for each in labels - set(ids)}
        for tag, known in self.elements:
            hidden = known.get("type") in ("hidden", "checkbox", "radio") or "hidden" in known
            if tag in ("input", "select", "textarea") and not hidden:
                named = "aria-label" in known or known.get("id") in labels
                found |= set() if named else {f"no label: {known.get('name')}"}
        return found

    def has(self, nickname):
        """Whether there is a form of this action."""
        return any(each.action in (f"/do/{nickname}", f"/do-each/{nickname}") for each in self.forms)


class Visitor:
    """A browser with its cookies."""

    def __init__(self, application, username=None, password=PASSWORD, agent="Browser/1.0"):
        self.application = application
        self.agent = agent
        self.cookies = {}
        if username is not None:
            self.sign_in(username, password)

    def sign_in(self, username, password=PASSWORD, **more):
        fields = {"field.username": username, "field.password": password, **more}
        return self.send(self.open("/signin/").form("signinUser"), **fields)

    def open(self, path):
        """The page at `path`; sent elsewhere, the page there."""
        return self._follow(self._request("GET", path), path)

    def get(self, path):
        """The answer at `path` itself."""
        return self._request("GET", path)

    def send(self, form, **fields):
        """The page to which this form leads, with what was filled in (`field__x` is the field `field.x`)."""
        return self._follow(self.post(form, **fields))

    def post(self, form, **fields):
        """The answer to this form itself."""
        filled = {name.replace("__", "."): value for name, value in fields.items()}
        assert filled.keys() <= form.names, f"the form {form.action} has no {filled.keys() - form.names}"
        kept = [(name, value) for name, value in form.fields if name not in filled]
        sent = urlencode([*kept, *filled.items()], doseq=True)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return self._request("POST", form.action, headers, sent.encode())

    def _request(self, method, path, headers=None, body=b""):
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        fields = {
            "Accept": "text/html",
            "User-Agent": self.agent,
            **({"Cookie": cookie} if cookie else {}),
            **(headers or {}),
        }
        connection = self.application.connect()
        connection.request(method, path, fields, body)
        raw = connection.transport.value()
        answer = connection.answer(method)
        connection.lose()
        self._keep(raw.partition(b"\r\n\r\n")[0].decode("latin-1"))
        return answer

    def _keep(self, head):
        for line in head.split("\r\n"):
            name, _, value = line.partition(": ")
            if name.lower() == "set-cookie":
                key, _, content = value.partition(";")[0].partition("=")
                self.cookies[key] = content
                if not content or "max-age=0" in value.lower():
                    del self.cookies[key]

    def _follow(self, answer, address=""):
        for _ in range(5):
            if answer.status not in (302, 303):
                return Page(answer, address)
            where = urlsplit(answer.headers["location"])
            address = where.path + (f"?{where.query}" if where.query else "")
            answer = self._request("GET", address)
        raise AssertionError("redirected in a circle")
