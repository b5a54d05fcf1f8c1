import Sharding
import WAL

/// What a leader tells one of its replicas: who is of the shard, and by which name the others know it.
///
/// On the wire the query of `POST /admin/announce`; on the disk a line of the same text.
public struct Announcement: Hashable, Sendable {
  public let membership: Membership
  /// The replica that is told.
  public let addressee: String
  /// The log that the shard has, and the epoch that it runs in; nil where the leader does not know yet.
  public let history: History?

  public struct History: Hashable, Sendable {
    let origin: UInt64
    let epoch: Epoch
  }

  /// Why a text is none.
  public struct Refusal: Error, CustomStringConvertible {
    public let description: String
  }

  init(_ membership: Membership, to addressee: String, history: History? = nil) {
    self.membership = membership
    self.addressee = addressee
    self.history = history
  }

  /// Reads what `text` writes.
  package init(_ text: some Collection<UInt8>) throws(Refusal) {
    guard let query = Parameters(text) else {
      throw Refusal(description: "bad percent-encoding")
    }
    try self.init(query)
  }

  init(_ query: Parameters) throws(Refusal) {
    guard let addressee = query.text("as"), let leader = query.text("leader"),
      let replicas = query.text("replicas"), let writeQuorum = query.text("w").flatMap({ Int($0) }),
      let readQuorum = query.text("r").flatMap({ Int($0) })
    else {
      throw Refusal(
        description: "as, leader, replicas, w and r are needed, the last two as numbers")
    }
    do throws(ShardMapError) {
      membership = try Membership(
        leader: leader, replicas: replicas.split(separator: ",").map(String.init),
        writeQuorum: writeQuorum, readQuorum: readQuorum, source: "the announcement")
    } catch {
      throw Refusal(description: "\(error)")
    }
    guard membership.replicas.contains(addressee) else {
      throw Refusal(description: "as must be one of the replicas")
    }
    self.addressee = addressee
    switch (
      query.text("origin").map { UInt64($0, radix: 16) }, query.text("epoch").map { Epoch($0[...]) }
    ) {
    case (nil, nil): history = nil
    case (let origin??, let epoch??): history = History(origin: origin, epoch: epoch)
    default:
      throw Refusal(
        description: "origin must be 16 hex digits, epoch a number, a dash and 16 hex digits")
    }
  }

  /// A query.
  package var text: String {
    let replicas = membership.replicas.joined(separator: ",")
    var text =
      "as=\(PercentEncoding.encode(addressee))&leader=\(PercentEncoding.encode(membership.leader))"
      + "&replicas=\(PercentEncoding.encode(replicas))&w=\(membership.writeQuorum)"
      + "&r=\(membership.readQuorum)"
    if let history {
      text += "&origin=\(hexadecimal(history.origin))&epoch=\(history.epoch.text)"
    }
    return text
  }
}
