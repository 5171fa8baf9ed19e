"""Django REST Framework with tokens that destrier has verified, in the place of ``rest_framework_simplejwt.authentication``:

    REST_FRAMEWORK = {"DEFAULT_AUTHENTICATION_CLASSES": ["destrier.django.JWTAuthentication"]}

Requests, answers and names of settings are those of SimpleJWT. The settings, with their defaults:

    DESTRIER = {
        "USER_ID_CLAIM": "user_id",  # the claim that says who the user is
        "USER_ID_FIELD": "id",  # the field of the user model in which it is looked up; it should be unique
        "CHECK_USER_IS_ACTIVE": True,  # whether users who are not active are refused
        "ISSUERS": ["own"],  # whose tokens may name a user, by the names of `[[auth.issuer]]`; see below
        "TOKEN_USER_CLASS": "destrier.django.TokenUser",  # what JWTStatelessUserAuthentication makes of claims
        "ALLOW_OUTSIDE_WORKER": False,  # for tests: whether a process will do that is no worker of destrier
    }

The claim `user_id` of one issuer is not that of another: whoever signs tokens could else be any user. Without ``ISSUERS`` tokens of the
token service name users, or those of the only issuer; where there are several and no token service, ``ISSUERS`` must be set. A token of
another issuer is nobody's here, as if there were none.
"""

from __future__ import annotations

import difflib
import logging
import sys
from typing import Any, Dict, Iterable, Optional, Set, Tuple

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured, MultipleObjectsReturned, ValidationError
from django.db.models.manager import EmptyManager
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from . import ISSUER_KEY, Claims, claims, is_worker, read

__all__ = ["JWTAuthentication", "JWTStatelessUserAuthentication", "TokenUser"]

logger = logging.getLogger("destrier.django")

_DEFAULTS: Dict[str, Any] = {
    "USER_ID_CLAIM": "user_id",
    "USER_ID_FIELD": "id",
    "CHECK_USER_IS_ACTIVE": True,
    "ISSUERS": None,
    "TOKEN_USER_CLASS": "destrier.django.TokenUser",
    "ALLOW_OUTSIDE_WORKER": False,
}


def _setting(name: str) -> Any:
    # Read each time, so that `override_settings` works.
    configured = getattr(settings, "DESTRIER", {})
    for unknown in configured.keys() - _DEFAULTS.keys():
        nearest = difflib.get_close_matches(str(unknown), _DEFAULTS, 1)
        hint = f"; did you mean `{nearest[0]}`?" if nearest else ""
        raise ImproperlyConfigured(f"there is no setting `{unknown}` in DESTRIER{hint}")
    return configured.get(name, _DEFAULTS[name])


class JWTAuthentication(BaseAuthentication):
    """Takes the user whom the verified token names: ``request.user`` is a user of Django's, ``request.auth`` the claims.

    A request without claims is nobody's: the next class is asked, and the permissions decide. Outside a worker of destrier
    :class:`destrier.OutsideWorker` is raised, which is a 500, unless ``ALLOW_OUTSIDE_WORKER`` is set.
    """

    www_authenticate_realm = "api"

    issuers: Optional[Iterable[str]] = None
    """Whose tokens name users for this class, in the place of the setting ``ISSUERS``: a subclass for each issuer can have fields of its own."""

    def authenticate(self, request: Request) -> Optional[Tuple[Any, Claims]]:
        """The user and the claims; None where the request has no token, or one of another issuer."""
        found = read(request) if _setting("ALLOW_OUTSIDE_WORKER") else claims(request)
        if found is None:
            return None
        signed_by = read(request, ISSUER_KEY)
        # A test says whose the claims are where it matters.
        if (is_worker() or signed_by is not None) and signed_by not in self._issuers():
            logger.info("a token of the issuer `%s` names no user: it is none of `ISSUERS`", signed_by)
            return None
        return self.get_user(found), found

    def authenticate_header(self, request: Request) -> str:
        """The challenge of a 401 (RFC 9110 section 11.6.1)."""
        return f'Bearer realm="{self.www_authenticate_realm}"'

    def _issuers(self) -> Iterable[str]:
        wanted = _setting("ISSUERS") if self.issuers is None else self.issuers
        if isinstance(wanted, str):
            raise ImproperlyConfigured(f"ISSUERS of DESTRIER must be a list of names, not `{wanted}`")
        extension = sys.modules.get("destrier_python")
        known: Tuple[str, ...] = getattr(extension, "issuers", ())
        if wanted is None:
            own: Optional[str] = getattr(extension, "token_issuer", None)
            if own is None and len(known) > 1:
                raise ImproperlyConfigured(
                    f"tokens of several issuers are believed ({_names(known)}): say in `ISSUERS` of DESTRIER whose name users, "
                    "for the claim of one issuer that says who the user is may be that of another user in another's"
                )
            return known if own is None else (own,)
        for name in wanted:
            if known and name not in known:
                raise ImproperlyConfigured(f"`{name}` in ISSUERS of DESTRIER is no issuer of the configuration: those are {_names(known)}")
        return wanted

    def get_user(self, claims: Claims) -> Any:
        """The user whom the claims name. Raises AuthenticationFailed where there is none, or one who is not active."""
        field, value = _setting("USER_ID_FIELD"), _user_id(claims)
        model = get_user_model()
        try:
            user = model._default_manager.get(**{field: value})
            is_meant = _is_meant(user, field, value)
        # Of the wrong type or form for the field, or of several users: nobody's.
        except (model.DoesNotExist, MultipleObjectsReturned, OverflowError, TypeError, ValidationError, ValueError):
            is_meant = False
        if not is_meant:
            raise _failed(_("User not found"), "user_not_found")
        if _setting("CHECK_USER_IS_ACTIVE") and not user.is_active:
            raise _failed(_("User is inactive"), "user_inactive")
        return user


class JWTStatelessUserAuthentication(JWTAuthentication):
    """Asks no database: ``request.user`` is a ``TOKEN_USER_CLASS`` made of the claims, whether there is such a user or not."""

    def get_user(self, claims: Claims) -> Any:
        """What ``TOKEN_USER_CLASS`` makes of the claims. Raises AuthenticationFailed where they name no user."""
        _user_id(claims)
        kind = _setting("TOKEN_USER_CLASS")
        if isinstance(kind, str):
            kind = import_string(kind)
        return kind(claims)


JWTTokenUserAuthentication = JWTStatelessUserAuthentication
"""The name that SimpleJWT had for it."""


class TokenUser:
    """A user of whom nothing is known but the claims.

    ``is_staff``, ``is_superuser`` and ``username`` are those of the claims, and so is every other attribute: ``user.roles`` is the claim
    ``roles``, None where there is none. It is authenticated and active, has no permissions, and cannot be saved.
    """

    is_active = True
    is_anonymous = False
    is_authenticated = True

    def __init__(self, token: Claims) -> None:
        self.token = token
        self.id = self.pk = _user_id(token)
        self.username = token.get("username", "")
        self.is_staff = token.get("is_staff") is True
        self.is_superuser = token.get("is_superuser") is True

    def __str__(self) -> str:
        return f"TokenUser {self.id}"

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, TokenUser) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __getattr__(self, name: str) -> Any:
        # Until it is made, as when it is copied, there are no claims.
        if name.startswith("__") or name == "token":
            raise AttributeError(name)
        return self.token.get(name)

    @property
    def groups(self) -> Any:
        """None of Django's: a manager that finds nothing."""
        return _nothing("Group")

    @property
    def user_permissions(self) -> Any:
        """None of Django's: a manager that finds nothing."""
        return _nothing("Permission")

    def get_username(self) -> str:
        return str(self.username)

    def get_user_permissions(self, obj: object = None) -> Set[str]:
        return set()

    def get_group_permissions(self, obj: object = None) -> Set[str]:
        return set()

    def get_all_permissions(self, obj: object = None) -> Set[str]:
        return set()

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False

    def has_perms(self, perm_list: Iterable[str], obj: object = None) -> bool:
        return False

    def has_module_perms(self, module: str) -> bool:
        return False

    def save(self, *args: Any, **kwargs: Any) -> None:
        raise NotImplementedError("a TokenUser is in no database")

    delete = set_password = check_password = save


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _user_id(claims: Claims) -> Any:
    value = claims.get(_setting("USER_ID_CLAIM"))
    # To a database `true` may be the user 1.
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _failed(_("Token contained no recognizable user identification"), "token_not_valid")
    return value


def _is_meant(user: Any, field: str, value: Any) -> bool:
    """Whether the database has found the very value: to some, `Alice` and `alice ` are equal."""
    try:
        return bool(user._meta.get_field(field).to_python(value) == getattr(user, field))
    except FieldDoesNotExist:
        # A look-up, as in `profile__subject`, or `pk`.
        return True


def _nothing(model: str) -> Any:
    # Those models can be imported only where `django.contrib.auth` is installed.
    return EmptyManager(apps.get_model("auth", model))


def _failed(detail: Any, code: str) -> AuthenticationFailed:
    return AuthenticationFailed({"detail": detail, "code": code})
