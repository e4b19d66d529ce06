"""A generator made of a greenlet: any function it calls may yield a value.

Walks a tree with a plain recursive function, where a generator would need
``yield from`` at every level.
"""

from coir.greenlet import getcurrent, greenlet


class Generator(greenlet):
    """Iterate over what ``function(*args)`` hands to :func:`give`."""

    def __init__(self, function, *args):
        super().__init__()
        self.function = function
        self.args = args

    def run(self):
        self.function(*self.args)

    def __iter__(self):
        return self

    def __next__(self):
        # Whoever asks for a value is the one to give it to.
        self.parent = getcurrent()
        value = self.switch()
        if self.dead:
            raise StopIteration
        return value


def give(value):
    """Hand `value` to the loop over the generator that is running."""
    getcurrent().parent.switch(value)


def walk(tree):
    for item in tree:
        if isinstance(item, list):
            walk(item)
        else:
            give(item)


if __name__ == "__main__":
    tree = [1, [2, [3, 4], 5], [[6]], 7]
    print(*Generator(walk, tree))
    print(sum(Generator(walk, tree)))
