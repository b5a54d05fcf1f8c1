import Client
import Server
import Testing
import WAL

@Suite("What nodes say of who leads a shard") struct LeaderClaimsTests {
  private static let nodes = (1...3).map { NodeAddress(host: "127.0.0.\($0)", port: 80) }

  private static func standing(_ epoch: UInt64, log: UInt64 = 7) -> LeaderClaims.Standing {
    LeaderClaims.Standing(epoch: Epoch(number: epoch, node: 1), origin: log)
  }

  private static func claims(
    known: LeaderClaims.Standing?,
    _ said: [(standing: LeaderClaims.Standing?, isLeading: Bool)]
  ) -> LeaderClaims {
    var claims = LeaderClaims(nodes: nodes.count, known: known)
    for (node, (standing, isLeading)) in zip(nodes, said) {
      claims.hear(node, standing, isLeading: isLeading)
    }
    return claims
  }

  @Test("is that the one with the highest epoch does, of those that lead")
  func highest() {
    let claims = Self.claims(
      known: nil, [(Self.standing(2), true), (Self.standing(3), true), (Self.standing(2), false)])
    #expect(claims.isEnough && claims.leader?.node == Self.nodes[1])
    #expect(Self.claims(known: nil, [(nil, false), (nil, false), (nil, false)]).leader == nil)
  }

  @Test("is not enough from one that leads in a new epoch, as long as most have said nothing")
  func notTheFirst() {
    var claims = Self.claims(known: Self.standing(1), [(Self.standing(2), true)])
    #expect(!claims.isEnough)
    // It did lead, and does not know yet that another one does.
    claims.hear(Self.nodes[1], Self.standing(3), isLeading: true)
    #expect(claims.isEnough && claims.leader?.node == Self.nodes[1])
  }

  @Test("is enough from most, where one of them leads in a new epoch")
  func mostAreEnough() {
    let known = Self.standing(1)
    let new = Self.claims(known: known, [(Self.standing(2), true), (Self.standing(2), false)])
    #expect(new.isEnough && new.leader?.node == Self.nodes[0])
    let old = Self.claims(known: known, [(Self.standing(1), true), (Self.standing(1), false)])
    #expect(!old.isEnough)
  }

  @Test("is that nobody does, where a node knows a higher epoch of the same log")
  func overtaken() {
    let claims = Self.claims(
      known: Self.standing(1), [(Self.standing(2), true), (Self.standing(3), false), (nil, false)])
    #expect(claims.isEnough && claims.leader == nil)
    // Of another log an epoch says nothing.
    let other = Self.claims(
      known: Self.standing(1),
      [(Self.standing(2), true), (Self.standing(3, log: 9), false), (nil, false)])
    #expect(other.leader?.node == Self.nodes[0])
  }

  @Test("is that nobody does in a lower epoch than one that was heard of")
  func lower() {
    let known = Self.standing(5)
    let said = (0..<3).map { (Optional(Self.standing(4)), $0 == 0) }
    #expect(Self.claims(known: known, said).leader == nil)
  }

  @Test("is that the shard was made anew, where most are there and none has the log that it had")
  func anew() {
    let known = Self.standing(5)
    let new = Self.standing(1, log: 9)
    let two = Self.claims(known: known, [(new, true), (new, false), (nil, false)])
    #expect(two.isEnough && two.leader?.node == Self.nodes[0])
    // The others may be away, and have it.
    #expect(Self.claims(known: known, [(new, true), (nil, false), (nil, false)]).leader == nil)
    let kept = Self.claims(known: known, [(new, true), (new, false), (Self.standing(4), false)])
    #expect(kept.leader == nil)
  }
}
