"""The loop."""
import heapq
import os
import select
import signal
import time
from collections import deque


class Loop:
    """epoll, timers, work that is ready, and wake-ups from signals and threads."""

    def __init__(self):
        self.epoll = select.epoll()
        self.handlers = {}
        self.timers = []
        self.timer_count = 0
        self.ready = deque()  # callables to run once each, one round a turn
        self.posted = deque()  # callables from threads
        self.after_turn = None
        self.on_signal = None
        self.on_failure = None
        self.running = True
        self.wake_out, self.wake_in = os.pipe()
        os.set_blocking(self.wake_out, False)
        os.set_blocking(self.wake_in, False)
        self.watch(self.wake_out, select.EPOLLIN, self.woken)
        signal.set_wakeup_fd(self.wake_in)

    def watch(self, fd, events, handler):
        self.epoll.register(fd, events)
        self.handlers[fd] = handler

    def unwatch(self, fd):
        if self.handlers.pop(fd, None) is not None:
            self.epoll.unregister(fd)

    def after(self, seconds, callback):
        """Runs the callback once; the answer is a handle for `cancel`."""
        self.timer_count += 1
        timer = [time.monotonic() + seconds, self.timer_count, callback]
        heapq.heappush(self.timers, timer)
        return timer

    @staticmethod
    def cancel(timer):
        if timer is not None:
            timer[2] = None

    def post(self, callback):
        """From another thread: runs the callback in the loop's."""
        self.posted.append(callback)
        try:
            os.write(self.wake_in, b"\0")
        except BlockingIOError:
            pass  # it has been woken more than enough

    def call(self, callback, *arguments):
        """A mistake in one operation's callback is that operation's end, and no other's."""
        try:
            callback(*arguments)
        except Exception as error:
            self.on_failure(callback, error)

    def woken(self, _events):
        try:
            os.read(self.wake_out, 4096)
        except BlockingIOError:
            pass
        self.on_signal()
        while self.posted:
            self.call(self.posted.popleft())

    def timeout(self):
        while self.timers and self.timers[0][2] is None:
            heapq.heappop(self.timers)
        if self.ready:
            return 0
        if not self.timers:
            return -1
        return max(0.0, self.timers[0][0] - time.monotonic())

    def run(self):
        handlers = self.handlers
        while self.running:
            for fd, events in self.epoll.poll(self.timeout(), 64):
                handler = handlers.get(fd)  # gone, if another event of this turn closed it
                if handler is not None:
                    self.call(handler, events)
            if self.timers:
                now = time.monotonic()
                while self.timers and self.timers[0][0] <= now:
                    callback = heapq.heappop(self.timers)[2]
                    if callback is not None:
                        self.call(callback)
            for _ in range(len(self.ready)):
                self.call(self.ready.popleft())
            self.after_turn()
