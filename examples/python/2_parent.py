"""A greenlet that ends goes on in its parent. Prints 12 56 34 78."""

from coir.greenlet import greenlet


def test1():
    print(12)
    gr2.switch()
    print(34)


def test2():
    print(56)


gr1 = greenlet(test1)
gr2 = greenlet(test2, gr1)
gr1.switch()
print(78)
