"""Problems of the chart of accounts."""

from http import HTTPStatus

from backend.problems import ProblemError


class AccountNotFoundError(ProblemError):
    """Answer for an account that does not exist or is another user's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/account-not-found"
    title = "Account not found"


class AccountCodeTakenError(ProblemError):
    """Refuse a second account with the same code in one book."""

    status = HTTPStatus.CONFLICT
    type = "/problems/account-code-taken"
    title = "Account code taken"


class AccountHierarchyError(ProblemError):
    """Refuse a parent that is unknown, of another type, archived, or a descendant."""

    status = HTTPStatus.CONFLICT
    type = "/problems/account-hierarchy"
    title = "Impossible account hierarchy"


class AccountInUseError(ProblemError):
    """Refuse to change what the lines on an account depend on."""

    status = HTTPStatus.CONFLICT
    type = "/problems/account-in-use"
    title = "Account in use"


class AccountArchivedError(ProblemError):
    """Refuse a new line on an archived account."""

    status = HTTPStatus.CONFLICT
    type = "/problems/account-archived"
    title = "Account archived"
