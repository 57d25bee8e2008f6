"""Makes the auth plugin that gets our user a token for another project. Knows no network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from keystoneauth1.identity import BaseIdentityPlugin, v2, v3
from keystoneauth1.identity.generic.base import BaseGenericPlugin
from keystoneauth1.identity.v3.application_credential import ApplicationCredentialMethod

from bulkshare.errors import NoRoleError

if TYPE_CHECKING:
    from keystoneauth1.plugin import BaseAuthPlugin

    from bulkshare.identity.entry import CloudEntry


def plugin_for(entry: CloudEntry, project: str, token: str) -> BaseAuthPlugin:
    """Return a plugin for `project` with the entry's credentials, which have got us `token` before.

    A password is given again. All else that knows projects exchanges the token, since what it took to get that may be
    good for one time, or may want a person. Raises `NoRoleError` where the credentials are bound to one project.
    """
    plugin = entry.plugin
    if isinstance(plugin, BaseGenericPlugin):  # it has found out the version, and leaves the log-in to this one
        plugin = plugin._plugin or plugin  # noqa: SLF001  # there is no public way to it, nor to the credentials
    if not isinstance(plugin, BaseIdentityPlugin) or isinstance(plugin, v2.Auth):
        raise NoRoleError(f"auth_type {entry.auth_type} gets no token for another project")
    url = plugin.auth_url or entry.auth_url
    methods = plugin.auth_methods if isinstance(plugin, v3.Auth) else []
    if any(isinstance(method, ApplicationCredentialMethod) for method in methods):
        raise NoRoleError(
            "an application credential is good for its own project alone: a log-in with a password is needed to act in "
            "others"
        )
    if len(methods) == 1 and isinstance(methods[0], v3.PasswordMethod):
        return v3.Auth(url, methods, project_id=project, include_catalog=False)
    return v3.Token(url, token, project_id=project, include_catalog=False)
