"""`destrier.django` beside SimpleJWT: the same requests, the same users, the same answers."""

import copy
import os
import pickle
import sys
import types
import unittest
import uuid
from unittest import mock

import django
from asgiref.testing import ApplicationCommunicator
from django.conf import settings

settings.configure(
    SECRET_KEY="a secret of more than thirty-two octets",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "rest_framework"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    REST_FRAMEWORK={"DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"]},
)
django.setup()

from django.contrib.auth.models import AnonymousUser, User
from django.core.handlers.asgi import ASGIHandler
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.test import Client, TestCase, override_settings
from django.urls import path
from rest_framework.permissions import AllowAny
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from rest_framework_simplejwt import authentication, tokens

import destrier
from destrier.django import JWTAuthentication, JWTStatelessUserAuthentication, TokenUser

call_command("migrate", verbosity=0)


class Whose(APIView):
    def get(self, request):
        return Response({"user": str(request.user), "user_id": request.auth["user_id"]})


class Open(APIView):
    permission_classes = [AllowAny]

    def get(self, request):
        return Response({"user": str(request.user)})


urlpatterns = []
for name, kind in {
    "ours": JWTAuthentication,
    "theirs": authentication.JWTAuthentication,
    "ours/stateless": JWTStatelessUserAuthentication,
    "theirs/stateless": authentication.JWTStatelessUserAuthentication,
}.items():
    urlpatterns.append(path(name, Whose.as_view(authentication_classes=[kind])))
    urlpatterns.append(path(name + "/open", Open.as_view(authentication_classes=[kind])))


def ask(place, claims, client=Client):
    """What a place of ours answers to claims, or one of SimpleJWT to a token of them."""
    more = {}
    if claims is not None and place.startswith("ours"):
        more = {"destrier.claims": claims}
    elif claims is not None:
        token = tokens.AccessToken()
        token.payload.update(claims)
        more = {"HTTP_AUTHORIZATION": f"Bearer {token}"}
    answer = client().get("/" + place, **more)
    return answer.status_code, answer.json(), answer.headers.get("WWW-Authenticate")


@override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True})
class BesideSimpleJwt(TestCase):
    @classmethod
    def setUpTestData(cls):
        cls.anna = User.objects.create_user("anna")
        cls.gone = User.objects.create_user("gone", is_active=False)

    def test_answers_are_those_of_simplejwt(self):
        for claims in (
            None,
            {"user_id": self.anna.pk},
            {"user_id": str(self.anna.pk)},
            {"user_id": str(self.gone.pk)},
            {"user_id": "4711"},
            {"user": "anna"},
        ):
            for place in ("", "/open", "/stateless", "/stateless/open"):
                with self.subTest(claims=claims, place=place):
                    self.assertEqual(ask("ours" + place, claims), ask("theirs" + place, claims))

    def test_where_simplejwt_fails_the_user_is_refused(self):
        for value in ("anna", "1" * 40, [1], {"a": 1}, None, True, 1.0, "\0"):
            with self.subTest(value=value):
                self.assertEqual(ask("ours", {"user_id": value})[0], 401)

    def test_inactive_users_pass_where_that_is_not_checked(self):
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "CHECK_USER_IS_ACTIVE": False}):
            self.assertEqual(ask("ours", {"user_id": self.gone.pk})[0], 200)

    def test_other_claims_and_fields(self):
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "USER_ID_CLAIM": "sub", "USER_ID_FIELD": "username"}):
            status, found, _ = ask("ours", {"sub": "anna", "user_id": "x"})
            self.assertEqual((status, found["user"]), (200, "anna"))
            self.assertEqual(ask("ours", {"user_id": self.anna.pk})[0], 401)

    def test_a_value_that_the_database_takes_for_another_is_nobodys(self):
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "USER_ID_CLAIM": "sub", "USER_ID_FIELD": "username"}):
            # As databases with a collation that ignores case do.
            with mock.patch.object(User._default_manager, "get", lambda **_: self.anna):
                self.assertEqual(ask("ours", {"sub": "Anna"})[0], 401)
        # That is no comparison of texts.
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "USER_ID_FIELD": "pk"}):
            self.assertEqual(ask("ours", {"user_id": str(self.anna.pk)})[0], 200)

    def test_a_value_of_several_users_is_nobodys(self):
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "USER_ID_FIELD": "email"}):
            # Both have none.
            self.assertEqual(ask("ours", {"user_id": ""})[0], 401)

    def test_requests_of_django_and_drf(self):
        claims = {"user_id": 1}
        request = APIRequestFactory().get("/", **{"destrier.claims": claims})
        with mock.patch.dict(os.environ, {"DESTRIER_ALLOW_OUTSIDE_WORKER": "1"}):
            self.assertEqual(destrier.claims(request), claims)
            self.assertEqual(destrier.claims(APIView().initialize_request(request)), claims)

    async def test_requests_of_django_under_asgi(self):
        scope = {"type": "http", "method": "GET", "path": "/ours/stateless", "query_string": b"", "headers": []}
        for more, status in (({"destrier.claims": {"user_id": "7"}}, 200), ({}, 401)):
            application = ApplicationCommunicator(ASGIHandler(), {**scope, **more})
            await application.send_input({"type": "http.request"})
            self.assertEqual((await application.receive_output())["status"], status)
            await application.receive_output()
            await application.wait()

    def test_no_header_of_a_client_is_a_claim(self):
        for name in ("HTTP_DESTRIER_CLAIMS", "HTTP_DESTRIER.CLAIMS"):
            self.assertEqual(Client().get("/ours", **{name: '{"user_id": 1}'}).status_code, 401)


class Ours(JWTAuthentication):
    issuers = ["own"]


class Partners(JWTStatelessUserAuthentication):
    issuers = ["partner"]


@override_settings(DESTRIER={})
class Issuers(TestCase):
    """Of a worker whose configuration has these issuers."""

    @classmethod
    def setUpTestData(cls):
        cls.anna = User.objects.create_user("anna")

    def ask(self, signed_by, issuers, token_issuer=None, classes=(JWTAuthentication,)):
        extension = types.ModuleType("destrier_python")
        extension.serve, extension.issuers, extension.token_issuer = None, issuers, token_issuer
        request = APIRequestFactory().get(
            "/", **{"destrier.claims": {"user_id": self.anna.pk}, "destrier.issuer": signed_by}
        )
        with mock.patch.dict(sys.modules, {"destrier_python": extension}):
            self.assertEqual(destrier.issuer(request), signed_by)
            answer = Whose.as_view(authentication_classes=classes)(request)
        return answer.data["user"] if answer.status_code == 200 else answer.status_code

    def test_the_only_issuer_names_users(self):
        self.assertEqual(self.ask("own", ("own",)), "anna")

    def test_with_a_token_service_no_other_issuer_names_users(self):
        both = ("own", "partner")
        self.assertEqual(self.ask("own", both, "own"), "anna")
        self.assertEqual(self.ask("partner", both, "own"), 401)

    def test_of_several_issuers_those_that_name_users_must_be_said(self):
        both = ("own", "partner")
        for signed_by in both:
            with self.assertRaisesRegex(ImproperlyConfigured, r"several issuers are believed \(`own`, `partner`\)"):
                self.ask(signed_by, both)
        with override_settings(DESTRIER={"ISSUERS": ["partner"]}):
            self.assertEqual(self.ask("partner", both, "own"), "anna")
            self.assertEqual(self.ask("own", both, "own"), 401)
            self.assertEqual(self.ask(None, both, "own"), 401)
        with override_settings(DESTRIER={"ISSUERS": []}):
            self.assertEqual(self.ask("own", both, "own"), 401)

    def test_a_name_that_is_no_issuers_is_refused(self):
        for setting, told in (["ovn"], "`ovn` in ISSUERS .* is no issuer .* those are `own`"), ("own", "a list of names"):
            with override_settings(DESTRIER={"ISSUERS": setting}):
                with self.assertRaisesRegex(ImproperlyConfigured, told):
                    self.ask("own", ("own",))

    def test_each_issuer_can_have_a_class_of_its_own(self):
        both, classes = ("own", "partner"), (Ours, Partners)
        self.assertEqual(self.ask("own", both, classes=classes), "anna")
        self.assertEqual(self.ask("partner", both, classes=classes), f"TokenUser {self.anna.pk}")
        self.assertEqual(self.ask("third", both, classes=classes), 401)

    def test_outside_a_worker_a_test_may_leave_the_issuer_away(self):
        claims = {"destrier.claims": {"user_id": self.anna.pk}}
        with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "ISSUERS": ["own"]}):
            self.assertEqual(Client().get("/ours", **claims).status_code, 200)
            self.assertEqual(Client().get("/ours", **claims, **{"destrier.issuer": "own"}).status_code, 200)
            self.assertEqual(Client().get("/ours", **claims, **{"destrier.issuer": "partner"}).status_code, 401)


class Settings(TestCase):
    def test_a_process_that_is_no_worker_is_refused(self):
        with self.assertRaises(destrier.OutsideWorker):
            Client().get("/ours", **{"destrier.claims": {"user_id": 1}})

    @override_settings(DESTRIER={"USER_ID_CLAM": "sub"})
    def test_a_setting_that_does_not_exist_is_named(self):
        with self.assertRaisesRegex(ImproperlyConfigured, "no setting `USER_ID_CLAM` in DESTRIER; did you mean `USER_ID_CLAIM`"):
            Client().get("/ours")


class Subclass(TokenUser):
    pass


class TokenUsers(unittest.TestCase):
    def test_a_token_user_behaves_as_that_of_simplejwt(self):
        from rest_framework_simplejwt.models import TokenUser as Theirs

        claims = {"user_id": "7", "username": "anna", "is_staff": True, "roles": ["editor"]}
        ours, theirs = TokenUser(claims), Theirs(claims)
        for name in (
            "id pk username is_staff is_superuser is_active is_anonymous is_authenticated roles absent".split()
        ):
            self.assertEqual(getattr(ours, name), getattr(theirs, name), name)
        for name, arguments in {
            "get_username": [], "get_group_permissions": [], "get_all_permissions": [], "has_perm": ["a"], "has_perms": [["a"]],
            "has_module_perms": ["a"], "__str__": [],
        }.items():
            self.assertEqual(getattr(ours, name)(*arguments), getattr(theirs, name)(*arguments), name)
        for name in ("save", "delete"):
            self.assertRaises(NotImplementedError, getattr(ours, name))
        self.assertEqual(list(ours.groups.all()), [])
        self.assertEqual(list(ours.user_permissions.all()), [])
        self.assertNotIsInstance(ours, AnonymousUser)

    def test_token_users_are_equal_by_id_and_can_be_copied(self):
        one = TokenUser({"user_id": "7"})
        self.assertEqual({one, TokenUser({"user_id": "7", "a": 1})}, {one})
        self.assertNotEqual(one, TokenUser({"user_id": "8"}))
        for copied in (copy.deepcopy(one), pickle.loads(pickle.dumps(one))):
            self.assertEqual((copied, copied.id), (one, "7"))

    def test_one_that_is_not_made_has_no_attributes(self):
        with self.assertRaises(AttributeError):
            TokenUser.__new__(TokenUser).roles

    def test_the_class_of_token_users_can_be_another_one(self):
        request = APIRequestFactory().get("/", **{"destrier.claims": {"user_id": str(uuid.uuid4())}})
        request = APIView().initialize_request(request)
        for kind in (Subclass, f"{__name__}.Subclass"):
            with override_settings(DESTRIER={"ALLOW_OUTSIDE_WORKER": True, "TOKEN_USER_CLASS": kind}):
                user, claims = JWTStatelessUserAuthentication().authenticate(request)
            self.assertIsInstance(user, Subclass)
            self.assertEqual(claims["user_id"], user.id)


if __name__ == "__main__":
    unittest.main()
