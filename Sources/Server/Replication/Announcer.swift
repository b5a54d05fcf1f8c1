import Client
import Engine
import NIOCore
import WAL

#if canImport(FoundationEssentials)
  import FoundationEssentials
#else
  import Foundation
#endif

/// Tells the other members who is of the shard, where no file does: those that have not been told in
/// this node's life, and those that do not follow.
extension NodeLife {
  /// Between two rounds, and for an answer.
  private static let announcePause = Duration.seconds(1)
  private static let announceSeconds: Int64 = 1

  func announce(_ membership: Membership) async {
    // The first leader knows its followers by itself.
    let replicas = members.filter { "\($0)" != membership.leader }
    var told: Set<NodeAddress> = []
    var refusals: [NodeAddress: String] = [:]
    while !Task.isCancelled {
      if let history = historyToAnnounce {
        let state = state
        let offline = Set(
          (state?.followers.rows ?? []).filter { $0.state == .offline }.compactMap(\.address))
        let due = replicas.filter {
          !told.contains($0) || state == nil || offline.contains("\($0)")
        }
        for (member, answer) in await announce(membership, history, to: due) {
          switch answer {
          case .taken: told.insert(member)
          case .refused(let reason):
            told.remove(member)
            // A replica that follows already takes another shard only once the log is named.
            guard history != nil, refusals.updateValue(reason, forKey: member) != reason else {
              continue
            }
            logger.error("\(member) does not follow this node: \(reason)")
          case .silent: break
          }
        }
      }
      try? await Task.sleep(for: Self.announcePause)
    }
  }

  /// Nil as long as it is another's to tell.
  private var historyToAnnounce: Announcement.History?? {
    guard let state else { return configuration.role == .leader ? .some(nil) : nil }
    guard state.isLeading else { return nil }
    let end = state.standing
    return .some(end.map { Announcement.History(origin: $0.origin, epoch: $0.epoch) })
  }

  private enum AnnouncementAnswer: Sendable {
    case taken
    case refused(String)
    case silent
  }

  private func announce(
    _ membership: Membership, _ history: Announcement.History?, to due: [NodeAddress]
  ) async -> [(NodeAddress, AnnouncementAnswer)] {
    let pool = pool
    return await withTaskGroup(of: (NodeAddress, AnnouncementAnswer).self) { group in
      for member in due {
        let text = Announcement(membership, to: "\(member)", history: history).text
        group.addTask {
          (member, await Self.answer(of: Peer(address: member, pool: pool), to: text))
        }
      }
      return await group.reduce(into: []) { $0.append($1) }
    }
  }

  private struct Refusal: Decodable { let error: String }

  private static func answer(of peer: Peer, to text: String) async -> AnnouncementAnswer {
    let request = KVRequest(.POST, "/admin/announce?\(text)", isIdempotent: true)
    guard let answer = try? await peer.ask(request, seconds: announceSeconds) else {
      return .silent
    }
    switch answer.status {
    case 204: return .taken
    case 400...499:
      let said = try? JSONDecoder().decode(Refusal.self, from: Data(answer.body.readableBytesView))
      return .refused(said?.error ?? "it answers \(answer.status)")
    default: return .silent
    }
  }
}
