"""Runs a module (or package) of CPython's suite, writes "begin NAME" and "end NAME RESULT" for each of its tests.

usage: suite.py MODULE [SKIPPED-TEST...]

The lines go to the standard output given; what the tests print themselves goes to /job/log.
"""
import faulthandler, io, os, sys, tempfile, unittest

out = os.fdopen(os.dup(1), 'w', buffering=1)
log = os.open('/job/log', os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
os.close(log)
sys.stdout.reconfigure(line_buffering=True)
faulthandler.enable()
module, *skipped = sys.argv[1:]
me = os.getpid()

from test import support
support.use_resources = {}
support.verbose = False
os.chdir(tempfile.mkdtemp(dir='/job'))


class Result(unittest.TestResult):
    def say(self, text):
        if os.getpid() == me:
            out.write(text + '\n')

    def startTest(self, test):
        super().startTest(test)
        self.worst = 'ok'
        self.say('begin ' + test.id())

    def note(self, result, error=None):
        if error:
            kind = error[0].__name__
            first = str(error[1]).splitlines()
            result += f' {kind}: {first[0][:150] if first else ""}'
            import traceback
            print('\n----', *traceback.format_exception(*error), file=sys.stderr)
            sys.stderr.flush()
        if self.worst == 'ok':
            self.worst = result

    def addError(self, test, error):
        self.note('ERROR', error)
        if not isinstance(test, unittest.TestCase):
            self.say(f'begin {test.id()}')
            self.say(f'end {test.id()} {self.worst}')

    def addFailure(self, test, error):
        self.note('FAIL', error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self.note('FAIL', error)

    def addSkip(self, test, reason):
        self.worst = 'skipped ' + reason
        if not isinstance(test, unittest.TestCase):
            self.say(f'begin {test.id()}')
            self.say(f'end {test.id()} {self.worst}')

    def addExpectedFailure(self, test, error):
        self.worst = 'expected failure'

    def addUnexpectedSuccess(self, test):
        self.worst = 'unexpected success'

    def stopTest(self, test):
        super().stopTest(test)
        if os.getpid() != me:
            os._exit(99)
        self.say(f'end {test.id()} {self.worst}')


def tests(suite):
    """The suite without what is skipped, its groups kept for their set-up."""
    kept = unittest.TestSuite()
    for one in suite:
        if isinstance(one, unittest.TestSuite):
            kept.addTest(tests(one))
        elif one.id() not in skipped:
            kept.addTest(one)
    return kept


try:
    suite = unittest.defaultTestLoader.loadTestsFromName(f'test.{module}')
    result = Result()
    result.worst = 'ok'
    tests(suite).run(result)
except unittest.SkipTest as reason:
    out.write(f'begin module\nend module skipped {reason}\n')
except BaseException as error:
    out.write(f'begin module\nend module {type(error).__name__}: {error}\n')
out.write('done\n')
out.flush()
os._exit(0)
