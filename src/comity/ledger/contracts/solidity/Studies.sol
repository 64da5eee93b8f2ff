// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {System, MEMBERS, RECORDS, GRANTS} from "./System.sol";

/// Joint training, gated: nothing starts before everyone on the roster approved, and each round runs
/// commit -> reveal -> aggregate by an elected proposer -> attest by the validators.
contract Studies is System {
    enum Status {
        None,
        Proposed,
        Active,
        Refused,
        Done,
        Concluded
    }

    enum Phase {
        None,
        Commit,
        Reveal,
        Aggregate,
        Attest,
        Final
    }

    struct Study {
        address org;
        Status status;
        uint8 quorum;
        uint8 approvals;
        uint32 rounds;
        uint32 timeout;
        bytes32 purpose;
        bytes32 last; // the last final aggregate
        address[] roster;
        bytes32[] datasets;
        mapping(address org => bool) isOnRoster;
        mapping(address org => bytes32) approval; // the record that says yes: the vote, or the study itself for its own organisation
        mapping(uint32 index => Round) round;
        uint32 current; // the round that runs, from 1
    }

    struct Round {
        Phase phase;
        uint8 committed;
        uint8 revealed;
        uint16 attested;
        uint32 attempt;
        uint64 since;
        bytes32 salts; // exclusive or of all revealed salts: the seed of the election
        bytes32 aggregate;
        bytes32 record; // the Round record that says how the aggregate came about
        mapping(address org => bytes32) commitment;
        mapping(address org => bool) hasRevealed;
        mapping(uint32 attempt => mapping(address org => bool)) hasAttested;
    }

    uint256 public constant ROSTER_MAX = 128;
    uint256 public constant DATASETS_MAX = 64;
    uint32 public constant ROUNDS_MAX = 10_000;
    uint32 public constant ROUND_TIMEOUT_S_MAX = 30 days;
    uint64 public constant WEIGHT_MAX = 2 ** 40;

    event StudyProposed(bytes32 indexed study, address indexed org);
    event StudyVoted(bytes32 indexed study, address indexed org, bool approve);
    event StudyActive(bytes32 indexed study);
    event StudyRefused(bytes32 indexed study, address indexed org);
    event Committed(bytes32 indexed study, uint32 indexed round, address indexed org);
    event RevealOpen(bytes32 indexed study, uint32 indexed round);
    event Revealed(bytes32 indexed study, uint32 indexed round, address indexed org, bytes32 update, uint64 weight);
    event AggregateOpen(bytes32 indexed study, uint32 indexed round, uint32 attempt, address proposer);
    event Aggregated(bytes32 indexed study, uint32 indexed round, uint32 attempt, bytes32 aggregate, bytes32 record);
    event Attested(bytes32 indexed study, uint32 indexed round, bytes32 aggregate, address indexed org);
    event RoundFinal(bytes32 indexed study, uint32 indexed round, bytes32 aggregate);
    event StudyDone(bytes32 indexed study);
    event Concluded(bytes32 indexed study, bytes32 indexed model);

    mapping(bytes32 study => Study) private _studies;

    // ---- agreeing -------------------------------------------------------------------------------------------------------

    /// To propose is to approve, for an organisation on its own roster; the others vote.
    function propose(
        bytes32[] calldata datasets,
        bytes32 purpose,
        address[] calldata roster,
        uint32 rounds,
        uint8 quorum,
        uint32 round_timeout_s,
        bytes calldata payload,
        bytes calldata signature
    ) external direct {
        require(datasets.length > 0 && datasets.length <= DATASETS_MAX, "a study reads 1 to 64 datasets");
        require(roster.length > 0 && roster.length <= ROSTER_MAX, "a roster has 1 to 128 organisations");
        require(rounds > 0 && rounds <= ROUNDS_MAX, "a study has 1 to 10000 rounds");
        require(quorum > 0 && quorum <= roster.length, "the quorum lies between 1 and the size of the roster");
        require(round_timeout_s > 0 && round_timeout_s <= ROUND_TIMEOUT_S_MAX, "a round waits between a second and 30 days");
        bytes32 digest = _place("study", payload, signature);
        Study storage study = _studies[digest];
        (study.org, study.status, study.purpose) = (msg.sender, Status.Proposed, purpose);
        (study.rounds, study.quorum, study.timeout) = (rounds, quorum, round_timeout_s);
        _setRoster(study, roster);
        for (uint256 i = 0; i < datasets.length; i++) {
            _ownerOf(datasets[i], "dataset", "a study reads datasets");
            for (uint256 j = 0; j < i; j++) require(datasets[i] != datasets[j], "a dataset is named twice");
            study.datasets.push(datasets[i]);
        }
        _requireGrants(study);
        emit StudyProposed(digest, msg.sender);
        if (study.isOnRoster[msg.sender]) _approve(digest, study, digest);
    }

    /// One vote each; one refusal ends it; the last approval starts the first round.
    function vote(bytes32 study, bool approve, bytes calldata payload, bytes calldata signature) external direct {
        Study storage it = _studies[study];
        require(it.status != Status.None, "there is no such study");
        require(it.status == Status.Proposed, "the vote on this study is over");
        require(!GRANTS.isRevoked(study), "the study was withdrawn");
        require(it.isOnRoster[msg.sender], "the sender is not on the roster");
        require(it.approval[msg.sender] == 0, "this organisation has approved already");
        bytes32 digest = _place("vote", payload, signature);
        emit StudyVoted(study, msg.sender, approve);
        if (approve) {
            _approve(study, it, digest);
        } else {
            it.status = Status.Refused;
            emit StudyRefused(study, msg.sender);
        }
    }

    /// The model that came out: its weights are the last final aggregate.
    function conclude(bytes32 study, bytes32 weights, bytes calldata payload, bytes calldata signature) external direct {
        Study storage it = _studies[study];
        require(it.status == Status.Done, "only a study whose rounds are done, and once");
        require(it.org == msg.sender, "only the study's organisation concludes it");
        require(it.last == weights, "the weights are not the last final aggregate");
        it.status = Status.Concluded;
        bytes32 model = _place("model", payload, signature);
        emit Concluded(study, model);
    }

    // ---- a round --------------------------------------------------------------------------------------------------------

    /// commitment = sha256(update ‖ salt ‖ organisation's address): bound to its maker, so it cannot be copied.
    function commit(bytes32 study, uint32 round, bytes32 commitment) external direct {
        (Study storage it, Round storage now_) = _running(study, round, Phase.Commit);
        require(it.isOnRoster[msg.sender], "the sender is not on the roster");
        require(commitment != 0, "a commitment is not zero");
        require(now_.commitment[msg.sender] == 0, "this organisation has committed already");
        _requirePermission(it, msg.sender);
        now_.commitment[msg.sender] = commitment;
        now_.committed++;
        emit Committed(study, round, msg.sender);
        if (now_.committed == it.roster.length) _openReveal(study, round, now_);
    }

    function reveal(bytes32 study, uint32 round, bytes32 update, bytes32 salt, uint64 weight) external direct {
        (Study storage it, Round storage now_) = _running(study, round, Phase.Reveal);
        require(now_.commitment[msg.sender] != 0, "this organisation has not committed in this round");
        require(!now_.hasRevealed[msg.sender], "this organisation has revealed already");
        require(sha256(abi.encodePacked(update, salt, msg.sender)) == now_.commitment[msg.sender], "this is not what was committed to");
        require(weight > 0 && weight <= WEIGHT_MAX, "a weight lies between 1 and 2^40");
        now_.hasRevealed[msg.sender] = true;
        now_.revealed++;
        now_.salts ^= salt;
        emit Revealed(study, round, msg.sender, update, weight);
        if (now_.revealed == now_.committed) _openAggregate(study, it, round, now_);
    }

    /// Go on without those who are late, if enough are here.
    function close(bytes32 study, uint32 round) external direct {
        (Study storage it, Round storage now_) = _runningAny(study, round);
        require(it.isOnRoster[msg.sender], "the sender is not on the roster");
        require(now_.phase == Phase.Commit || now_.phase == Phase.Reveal, "there is nothing to close in this phase");
        require(block.timestamp >= now_.since + it.timeout, "the round's time is not over");
        if (now_.phase == Phase.Commit) {
            require(now_.committed >= it.quorum, "fewer than the quorum have committed");
            _openReveal(study, round, now_);
        } else {
            require(now_.revealed >= it.quorum, "fewer than the quorum have revealed");
            _openAggregate(study, it, round, now_);
        }
    }

    function aggregate(
        bytes32 study,
        uint32 round,
        uint32 attempt,
        bytes32 aggregate_,
        bytes calldata payload,
        bytes calldata signature
    ) external direct {
        (Study storage it, Round storage now_) = _running(study, round, Phase.Aggregate);
        require(now_.attempt == attempt, "this attempt is over");
        require(_proposer(study, it, round, now_, attempt) == msg.sender, "another organisation was elected to aggregate");
        require(aggregate_ != 0, "an aggregate is not zero");
        bytes32 digest = _place("round", payload, signature);
        (now_.aggregate, now_.record, now_.attested) = (aggregate_, digest, 0);
        _enter(now_, Phase.Attest);
        emit Aggregated(study, round, attempt, aggregate_, digest);
    }

    /// A validator's organisation computed the same round, bit for bit. More than two thirds make its aggregate final.
    /// It names the record, not the aggregate: two attempts may give one aggregate and tell different stories about it.
    function attest(bytes32 study, uint32 round, bytes32 record) external direct {
        (Study storage it, Round storage now_) = _running(study, round, Phase.Attest);
        require(MEMBERS.validatorOf(msg.sender) != address(0), "only a validator's organisation attests");
        require(now_.record == record, "another round record was posted");
        require(!now_.hasAttested[now_.attempt][msg.sender], "this organisation has attested already");
        now_.hasAttested[now_.attempt][msg.sender] = true;
        now_.attested++;
        emit Attested(study, round, now_.aggregate, msg.sender);
        if (3 * uint256(now_.attested) > 2 * MEMBERS.validatorCount()) _finish(study, it, round, now_);
    }

    /// The proposer was silent, or its aggregate found no quorum in time: the next one's turn.
    function retry(bytes32 study, uint32 round) external direct {
        (Study storage it, Round storage now_) = _runningAny(study, round);
        require(it.isOnRoster[msg.sender], "the sender is not on the roster");
        require(now_.phase == Phase.Aggregate || now_.phase == Phase.Attest, "there is no proposer to replace in this phase");
        require(block.timestamp >= now_.since + it.timeout, "the proposer's time is not over");
        now_.attempt++;
        now_.aggregate = 0;
        _openAggregate(study, it, round, now_);
    }

    // ---- reading --------------------------------------------------------------------------------------------------------

    /// Who aggregates: the k-th, in roster order, of those who revealed; k is drawn from all their salts and moves on by one an attempt.
    function proposerOf(bytes32 study, uint32 round, uint32 attempt) external view returns (address) {
        Study storage it = _studies[study];
        require(it.round[round].phase >= Phase.Aggregate, "the round has not elected a proposer yet");
        return _proposer(study, it, round, it.round[round], attempt);
    }

    function statusOf(bytes32 study) external view returns (Status status, uint32 round, Phase phase, uint32 attempt, uint64 since, bytes32 last) {
        Study storage it = _studies[study];
        Round storage now_ = it.round[it.current];
        return (it.status, it.current, now_.phase, now_.attempt, now_.since, it.last);
    }

    // ---- inside ---------------------------------------------------------------------------------------------------------

    function _setRoster(Study storage study, address[] calldata roster) private {
        for (uint256 i = 0; i < roster.length; i++) {
            require(MEMBERS.isMember(roster[i]), "everyone on the roster is a member");
            require(!study.isOnRoster[roster[i]], "an organisation is on the roster twice");
            study.isOnRoster[roster[i]] = true;
            study.roster.push(roster[i]);
        }
    }

    function _approve(bytes32 digest, Study storage study, bytes32 approval) private {
        study.approval[msg.sender] = approval;
        study.approvals++;
        if (study.approvals < study.roster.length) return;
        _requireGrants(study);
        for (uint256 i = 0; i < study.roster.length; i++)
            require(!GRANTS.isRevoked(study.approval[study.roster[i]]), "an approval was revoked");
        study.status = Status.Active;
        emit StudyActive(digest);
        _begin(study, 1);
    }

    /// Datasets of organisations that are not on the roster need a grant to the study's organisation; the others' approval is theirs.
    function _requireGrants(Study storage study) private view {
        for (uint256 i = 0; i < study.datasets.length; i++) {
            (, , address owner) = RECORDS.record(study.datasets[i]);
            if (study.isOnRoster[owner]) require(!GRANTS.isRevoked(study.datasets[i]), "a dataset was revoked");
            else _requireCover(study, study.datasets[i]);
        }
    }

    /// Asked again at each commit: a revoked approval, dataset or grant stops the work that rests on it.
    function _requirePermission(Study storage study, address org) private view {
        require(!GRANTS.isRevoked(study.approval[org]), "this organisation has revoked its approval");
        for (uint256 i = 0; i < study.datasets.length; i++) {
            (, , address owner) = RECORDS.record(study.datasets[i]);
            if (owner == org) require(!GRANTS.isRevoked(study.datasets[i]), "this organisation has revoked its dataset");
            else if (!study.isOnRoster[owner]) _requireCover(study, study.datasets[i]);
        }
    }

    function _requireCover(Study storage study, bytes32 dataset) private view {
        require(GRANTS.covers(dataset, study.org, study.purpose), "no grant covers a dataset for this purpose");
    }

    function _runningAny(bytes32 study, uint32 round) private view returns (Study storage it, Round storage now_) {
        it = _studies[study];
        require(it.status == Status.Active, "the study is not active");
        require(!GRANTS.isRevoked(study), "the study was withdrawn");
        require(it.current == round, "another round is running");
        now_ = it.round[round];
    }

    function _running(bytes32 study, uint32 round, Phase phase) private view returns (Study storage it, Round storage now_) {
        (it, now_) = _runningAny(study, round);
        require(now_.phase == phase, "the round is in another phase");
    }

    function _enter(Round storage now_, Phase phase) private {
        (now_.phase, now_.since) = (phase, uint64(block.timestamp));
    }

    function _begin(Study storage study, uint32 round) private {
        study.current = round;
        _enter(study.round[round], Phase.Commit);
    }

    function _openReveal(bytes32 study, uint32 round, Round storage now_) private {
        _enter(now_, Phase.Reveal);
        emit RevealOpen(study, round);
    }

    function _openAggregate(bytes32 study, Study storage it, uint32 round, Round storage now_) private {
        _enter(now_, Phase.Aggregate);
        emit AggregateOpen(study, round, now_.attempt, _proposer(study, it, round, now_, now_.attempt));
    }

    function _proposer(bytes32 study, Study storage it, uint32 round, Round storage now_, uint32 attempt) private view returns (address) {
        uint256 seed = uint256(keccak256(abi.encode(study, round, now_.salts))) % now_.revealed;
        uint256 skip = (seed + attempt) % now_.revealed;
        for (uint256 i = 0; i < it.roster.length; i++) {
            if (!now_.hasRevealed[it.roster[i]]) continue;
            if (skip == 0) return it.roster[i];
            skip--;
        }
        return address(0);
    }

    function _finish(bytes32 study, Study storage it, uint32 round, Round storage now_) private {
        it.last = now_.aggregate;
        _enter(now_, Phase.Final);
        emit RoundFinal(study, round, now_.aggregate);
        if (round < it.rounds) {
            _begin(it, round + 1);
        } else {
            it.status = Status.Done;
            emit StudyDone(study);
        }
    }
}
