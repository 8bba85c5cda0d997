"""Watching a run: chaos and roughness along training, within a budget of time."""

from fracjax.diagnosis.watching.advice import Advice as Advice
from fracjax.diagnosis.watching.advice import advise as advise
from fracjax.diagnosis.watching.alarms import Message as Message
from fracjax.diagnosis.watching.alarms import Stretch as Stretch
from fracjax.diagnosis.watching.alarms import messages as messages
from fracjax.diagnosis.watching.alarms import stretches as stretches
from fracjax.diagnosis.watching.budget import SIZES as SIZES
from fracjax.diagnosis.watching.budget import Budget as Budget
from fracjax.diagnosis.watching.budget import Size as Size
from fracjax.diagnosis.watching.journal import Journal as Journal
from fracjax.diagnosis.watching.journal import JournalError as JournalError
from fracjax.diagnosis.watching.journal import read_configuration as read_configuration
from fracjax.diagnosis.watching.journal import read_records as read_records
from fracjax.diagnosis.watching.journal import read_state as read_state
from fracjax.diagnosis.watching.records import Cost as Cost
from fracjax.diagnosis.watching.records import DiscountRecord as DiscountRecord
from fracjax.diagnosis.watching.records import Number as Number
from fracjax.diagnosis.watching.records import Record as Record
from fracjax.diagnosis.watching.watch import Watch as Watch
from fracjax.diagnosis.watching.watch import problem_of_objective as problem_of_objective
from fracjax.diagnosis.watching.watch import watch_policies as watch_policies

__all__ = [
    "SIZES",
    "Advice",
    "Budget",
    "Cost",
    "DiscountRecord",
    "Journal",
    "JournalError",
    "Message",
    "Number",
    "Record",
    "Size",
    "Stretch",
    "Watch",
    "advise",
    "messages",
    "problem_of_objective",
    "read_configuration",
    "read_records",
    "read_state",
    "stretches",
    "watch_policies",
]
