import KVClient
import Testing

@Suite("A session of a leaderless shard") struct KVSessionContextTests {
  private static let (a, b) = ("00000000000000aa", "00000000000000bb")

  private func context(_ text: String) throws -> KVContext { try #require(KVContext(text)) }

  @Test("keeps of each shard all that it was told, and asks for nothing less")
  func merged() throws {
    let session = KVSession()
    #expect(session.seen(shard: 0, of: 2) == nil)
    session.note(try context("\(Self.a):3"), shard: 0, of: 2)
    session.note(try context("\(Self.a):2,\(Self.b):7"), shard: 0, of: 2)
    session.note(try context("\(Self.b):1"), shard: 1, of: 2)
    #expect(session.seen(shard: 0, of: 2) == "\(Self.a):3,\(Self.b):7")
    #expect(session.minimum(shard: 0, of: 2) == "\(Self.a):3,\(Self.b):7")
    #expect(session.minimum(shard: 1, of: 2) == "\(Self.b):1")
  }

  @Test("needs nothing of who takes a write where there is a leader")
  func led() {
    let session = KVSession()
    session.note("\"7.1-00000000000000aa\"", shard: 0, of: 1)
    #expect(session.minimum(shard: 0, of: 1) != nil && session.seen(shard: 0, of: 1) == nil)
  }
}
