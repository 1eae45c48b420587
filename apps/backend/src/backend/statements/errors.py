"""Problems of bank accounts and their statements."""

from http import HTTPStatus

from backend.problems import ProblemError


class BankAccountNotFoundError(ProblemError):
    """Answer for a bank account that does not exist or is another user's: the two look alike."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/bank-account-not-found"
    title = "Bank account not found"


class BankAccountTakenError(ProblemError):
    """Refuse a second bank account for one account of the chart."""

    status = HTTPStatus.CONFLICT
    type = "/problems/bank-account-taken"
    title = "Account has a bank account"


class NoBankAccountError(ProblemError):
    """Refuse an account of the chart that can be no bank account: neither asset nor liability."""

    status = HTTPStatus.CONFLICT
    type = "/problems/no-bank-account"
    title = "Not an account for money"


class MissingCsvFormatError(ProblemError):
    """Refuse a CSV file for a bank account that does not say what its columns are called."""

    status = HTTPStatus.CONFLICT
    type = "/problems/missing-csv-format"
    title = "Missing CSV format"


class ImportNotFoundError(ProblemError):
    """Answer for an import that does not exist or is of another bank account."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/import-not-found"
    title = "Import not found"


class StatementLineNotFoundError(ProblemError):
    """Answer for a statement line that does not exist or is another user's."""

    status = HTTPStatus.NOT_FOUND
    type = "/problems/statement-line-not-found"
    title = "Statement line not found"


class LinesInUseError(ProblemError):
    """Refuse to undo an import whose lines are matched with entries."""

    status = HTTPStatus.CONFLICT
    type = "/problems/statement-lines-in-use"
    title = "Statement lines in use"
