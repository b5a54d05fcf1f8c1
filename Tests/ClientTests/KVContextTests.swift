import Client
import Testing

struct KVContextTests {
  private static let (a, b, c) = ("00000000000000aa", "00000000000000bb", "fffffffffffffffc")

  private func vector(_ text: String) throws -> KVContext {
    try #require(KVContext(text), "\(text)")
  }

  @Test("is read as nodes write it, and nothing at all is empty")
  func parsing() throws {
    #expect(try vector("").isEmpty && vector("") == KVContext())
    #expect(try !vector("\(Self.a):1").isEmpty)
    #expect(
      try vector("\(Self.a):1,\(Self.c):18446744073709551615")
        == vector("00000000000000AA:1,\(Self.c.uppercased()):18446744073709551615"))
  }

  @Test(
    "is nothing else",
    arguments: [
      "a", "\(a)", "\(a):", "\(a):x", "\(a):1,", ",\(a):1", "\(a):1;\(b):2", "aa:1", "\(a)0:1",
      "\(a):18446744073709551616", "\(a):99999999999999999999999", "\(b):1,\(a):1", "\(a):1,\(a):2",
      "\(a):1 ", "\(a):-1", "g0000000000000aa:1", "\(a):1\n",
    ])
  func refusals(text: String) {
    #expect(KVContext(text) == nil)
  }

  @Test("covers what has seen no more, entry by entry")
  func covering() throws {
    let (a, b, c) = (Self.a, Self.b, Self.c)
    let vector = try vector("\(a):3,\(c):9")
    for less in ["", "\(a):3", "\(c):9", "\(a):1,\(c):2", "\(a):3,\(b):0,\(c):9"] {
      #expect(vector.covers(try self.vector(less)), "\(less)")
    }
    for more in ["\(a):4", "\(b):1", "\(a):3,\(b):1,\(c):9", "\(c):10", "\(a):1,\(c):10"] {
      #expect(!vector.covers(try self.vector(more)), "\(more)")
    }
  }

  @Test("that takes another in covers both, and no more than these")
  func merging() throws {
    let (a, b, c) = (Self.a, Self.b, Self.c)
    var vector = KVContext()
    vector.merge(try self.vector("\(b):4"))
    vector.merge(try self.vector("\(a):3,\(c):1"))
    vector.merge(try self.vector("\(a):2,\(b):5"))
    vector.merge(KVContext())
    #expect(vector == (try self.vector("\(a):3,\(b):5,\(c):1")))
  }
}
