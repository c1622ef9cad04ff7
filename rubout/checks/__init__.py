"""Twins of Gymnasium's check_env: does a policy, task, reward or learner keep its contract?

Run them on your own plug-in, in a test of one line: `check_policy(MyPolicy(space, config))`. Each
raises AssertionError with one sentence that says what does not hold.
"""

from rubout.checks.learner import check_learner
from rubout.checks.logs import random_logs
from rubout.checks.policy import check_policy
from rubout.checks.reward import check_reward
from rubout.checks.task import check_task

__all__ = ["check_learner", "check_policy", "check_reward", "check_task", "random_logs"]
