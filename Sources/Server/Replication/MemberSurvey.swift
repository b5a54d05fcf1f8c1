import Client
import Engine
import Logging
import NIOCore
import WAL

/// Asks the other members of a shard how they stand.
struct MemberSurvey: Sendable {
  private static let askSeconds: Int64 = 1
  private static let pause = Duration.milliseconds(20)

  private let members: [NodeAddress]
  private let pool: KVPool

  init(_ members: [NodeAddress], _ pool: KVPool) {
    self.members = members
    self.pool = pool
  }

  /// What a member says, or why it says nothing.
  enum Answer: Sendable {
    case report(Succession.Report)
    /// It is reading its data, and will know.
    case starting
    case silent
  }

  /// Asks each member once.
  ///
  /// - Returns: what those say who do.
  func ask() async -> [Succession.Report] {
    await answers().compactMap { if case .report(let report) = $0 { report } else { nil } }
  }

  /// Asks until everybody has said how it stands, or the time is over.
  ///
  /// - Parameters:
  ///   - insistent: also those who cannot be reached are asked again.
  ///   - least: so many have to say it, however long that takes.
  func settle(
    within most: Duration, insistent: Bool, atLeast least: Int, _ progress: StartProgress,
    _ logger: Logger
  ) async throws -> [Succession.Report] {
    let deadline = ContinuousClock.now + most
    var isSaid = false
    while true {
      var reports: [Succession.Report] = []
      var isSettled = true
      for answer in await answers() {
        switch answer {
        case .report(let report): reports.append(report)
        case .starting: isSettled = false
        case .silent: isSettled = isSettled && !insistent
        }
      }
      let areEnough = Succession.areEnough(reports, least, of: members.count)
      if areEnough, isSettled || ContinuousClock.now >= deadline { return reports }
      if !isSaid, ContinuousClock.now >= deadline {
        logger.warning(
          "this node may lack what it has acknowledged: it waits until \(least) other members have said what they have, and \(reports.count) did"
        )
        isSaid = true
      }
      try progress.check()
      try await Task.sleep(for: Self.pause)
    }
  }

  private func answers() async -> [Answer] {
    await withTaskGroup(of: Answer.self) { group in
      for member in members { group.addTask { await answer(of: member) } }
      return await group.reduce(into: []) { $0.append($1) }
    }
  }

  private func answer(of member: NodeAddress) async -> Answer {
    let peer = Peer(address: member, pool: pool)
    do {
      let answer = try await peer.ask(KVRequest(.GET, "/status"), seconds: Self.askSeconds)
      switch answer.status {
      case 200: return .report(try peer.status(of: answer).report(member))
      case 503: return Peer.doorReport(of: answer, member) ?? .starting
      default: return .silent
      }
    } catch {
      return .silent
    }
  }
}

/// What a node says of itself as long as it serves nothing.
struct DoorStanding: Sendable {
  let text: String

  /// It has no log.
  static let nothing = DoorStanding(text: "\"empty\":true")

  private init(text: String) { self.text = text }

  init(_ standing: Succession.Standing, number: UInt64) {
    text =
      "\"epoch\":\(standing.epoch.number),\"epoch_node\":\"\(hexadecimal(standing.epoch.node))\","
      + "\"origin\":\"\(hexadecimal(standing.origin))\",\"sequence\":{\"appended\":\(standing.sequence),"
      + "\"durable\":\(standing.sequence),\"applied\":\(standing.sequence)}"
  }
}
