"""Names of our settings in other PPO libraries, and the hint that suggests ours. Knows names only.

Sources: the arguments of Stable-Baselines3's PPO, CleanRL's ppo.py, RLlib's PPOConfig, Sample Factory and rsl_rl.
"""

from collections.abc import Callable, Collection

from dppo.settings.fields import nearest_name

# our setting, what is different about it, what they call it
_TABLE = (
    ("collect.batch_steps", "steps of all environments together", "n_steps num_steps nsteps train_batch_size"),
    (
        "collect.batch_steps",
        "steps of all environments together",
        "timesteps_per_batch train_batch_size_per_learner num_steps_per_env horizon buffer_size",
    ),
    ("ppo.minibatch_steps", "", "batch_size minibatch_size sgd_minibatch_size mini_batch_size"),
    ("ppo.minibatch_steps", "a size, not a number of parts", "num_minibatches num_mini_batches"),
    ("ppo.minibatch_steps", "a size, not a number of parts", "n_minibatches num_batches_per_epoch"),
    ("ppo.epochs", "", "n_epochs num_epochs update_epochs num_sgd_iter num_learning_epochs noptepochs"),
    ("collect.segment_steps", "", "rollout rollout_fragment_length fragment_length unroll_length"),
    ("collect.rule", "even_shares", "even_shares"),
    ("run.total_steps", "", "total_timesteps num_timesteps timesteps steps"),
    ("run.total_steps", "", "train_for_env_steps max_steps n_timesteps num_steps_total"),
    ("run.total_steps", "updates x collect.batch_steps", "max_iterations num_iterations"),
    ("run.total_steps", "updates x collect.batch_steps", "iterations num_updates n_updates"),
    ("actors", "", "num_workers n_workers workers num_rollout_workers num_env_runners num_actors n_actors"),
    ("actors", "", "actor processes num_processes nproc n_proc num_cpu num_cpus"),
    ("collect.envs_per_actor", "times actors", "num_envs n_envs num_envs_per_worker"),
    ("collect.envs_per_actor", "times actors", "num_envs_per_env_runner envs_per_worker number_env nenvs"),
    ("ppo.learning_rate", "", "lr alpha step_size actor_lr learning_rates"),
    ("ppo.critic_learning_rate", "", "critic_lr vf_lr value_lr"),
    ("ppo.learning_rate_schedule", "", "anneal_lr lr_schedule schedule lr_decay"),
    ("ppo.gamma", "", "discount gamma_discount discount_factor"),
    ("ppo.gae_lambda", "", "lam lambda lambda_ gae gae_lam"),
    ("ppo.clip_range", "", "clip clip_coef clip_param clip_ratio clip_eps eps_clip ppo_clip_ratio cliprange"),
    ("ppo.entropy_coefficient", "", "ent_coef entropy_coef entropy_coeff"),
    ("ppo.entropy_coefficient", "", "entropy_cost exploration_loss_coeff beta entropy"),
    ("ppo.value_coefficient", "", "vf_coef vf_loss_coeff value_loss_coef value_loss_coeff critic_coef value_coef"),
    ("ppo.max_grad_norm", "", "grad_clip grad_norm max_gradient_norm clip_grad_norm"),
    ("ppo.adam_epsilon", "", "adam_eps eps epsilon"),
    ("ppo.target_kl", "", "desired_kl kl_target"),
    ("ppo.kl_coefficient", "", "kl_coeff kl_loss_coeff kl_coef init_kl_coeff"),
    ("ppo.normalise_advantages", "", "norm_adv normalize_advantage normalize_advantages"),
    ("ppo.normalise_values", "", "normalize_returns normalize_values"),
    ("ppo.normalise_rewards", "", "norm_reward normalize_reward normalize_rewards rew_norm reward_normalization"),
    ("ppo.reward_clip", "", "clip_reward clip_rewards"),
    ("ppo.value_clip_range", "", "clip_vloss clip_range_vf vf_clip_param value_clip"),
    ("ppo.recompute_advantages", "", "recompute_adv recompute_advantage"),
    ("network.action_bounds", "squash", "squash_output tanh_squash"),
    ("network.exploration", "state", "use_sde gsde sde"),
    ("network.exploration_steps", "", "sde_sample_freq"),
    ("network.noise_colour", "", "noise_color color colour colored_noise noise_color_beta noise_beta"),
    ("network.policy_hidden and network.critic_hidden", "", "net_arch hidden hidden_size hidden_sizes"),
    (
        "network.policy_hidden and network.critic_hidden",
        "",
        "hidden_dims layers fcnet_hiddens encoder_mlp_layers actor_hidden_dims",
    ),
    ("network.encoder", "a function of yours, as module:function", "features_extractor_class features_extractor"),
    ("network.encoder", "a function of yours, as module:function", "custom_model vision_model_class"),
    ("network.critic_encoder", "shared or own", "share_features_extractor vf_share_layers actor_critic_share_weights"),
    (
        "network.policy_hidden and network.critic_hidden and network.activation and network.encoder",
        "for net_arch, activation_fn and features_extractor_class",
        "policy_kwargs features_extractor_kwargs model_config",
    ),
    ("network.activation", "", "activation_fn fcnet_activation nonlinearity"),
    ("network.frame_stack", "", "n_stack env_framestack num_framestacks frames_stack"),
    ("network.memory", "gru or lstm", "use_rnn use_lstm rnn_type recurrent rnn_cell"),
    ("network.memory_width", "", "rnn_size lstm_hidden_size rnn_hidden_size lstm_cell_size rnn_hidden_dim"),
    ("network.memory_layers", "", "rnn_num_layers rnn_hidden_layers n_lstm_layers lstm_layers"),
    ("network.bptt_steps", "", "max_seq_len rollout_seq_len recurrence bptt_length sequence_length"),
    ("network.initial_log_std", "", "log_std_init init_noise_std initial_stddev"),
    ("network.initialisation", "", "ortho_init policy_initialization"),
    ("network.normalise_observations", "", "norm_obs normalize_input normalize_observations empirical_normalization"),
    ("env.id", "", "env_id env_name environment gym_id task"),
    ("env.kwargs", "", "env_config env_kwargs env_args"),
    ("env.kwargs", "as in '{max_episode_steps: 200}'", "max_episode_steps time_limit max_ep_len episode_length"),
    ("env.wrappers", "", "env_wrapper env_wrappers vec_env_wrapper wrapper wrapper_class"),
    ("run.directory", "", "exp_name experiment experiment_name train_dir log_dir logdir save_path output_dir run_name"),
    ("run.directory", "", "tb_log_name"),
    ("run.device", "for example cuda", "cuda gpu use_gpu num_gpus"),
    ("run.tensorboard", "", "tensorboard_log logger"),
    ("run.hooks", "a class of yours, as module:Class (docs/hooks.md)", "callback callbacks callbacks_class on_step"),
    ("run.trackers", "for example wandb", "track use_wandb wandb with_wandb"),
    ("run.project", "", "wandb_project_name wandb_project"),
    ("run.evaluate_seconds", "seconds, not steps", "eval_freq evaluation_interval eval_interval"),
    ("run.return_window", "", "stats_window_size metrics_num_episodes_for_smoothing"),
    ("run.video_seconds", "", "capture_video record_video video_interval"),
    ("run.checkpoint_seconds", "", "checkpoint_freq save_freq save_interval save_every_sec"),
    ("run.target_return", "", "reward_threshold solved_reward target_reward"),
    ("run.directory", "the same command goes on with a run; run.directory says which", "resume load load_run"),
    (
        "run.directory",
        "the same command goes on with a run; run.directory says which",
        "restore checkpoint load_checkpoint",
    ),
    ("episodes", "", "n_eval_episodes num_episodes eval_episodes n_episodes"),
    ("deterministic", "--no-deterministic samples", "stochastic sample explore"),
    ("render", "", "render_mode"),
)
_OURS = {name: (path, hint) for path, hint, names in _TABLE for name in names.split()}
_AT_THE_END = {"episodes": "evaluation_episodes"}  # what `dppo train` calls the same

# what they have and we do not: why, so that users need not search for it
_ABSENT = {
    **dict.fromkeys(("algo", "algorithm"), "the algorithm is PPO"),
    **dict.fromkeys(("verbose", "log_level", "quiet"), "redirect the output for plain lines"),
    **dict.fromkeys(("progress_bar", "log_interval"), "a terminal shows progress anyway, other outputs get lines"),
    "reset_num_timesteps": "the same command goes on with a run, --run.new begins another one",
    "framework": "the network's settings begin with network.",
    "policy": "the network follows from the spaces: leave MlpPolicy and the like out; its settings begin with network.",
    **dict.fromkeys(("optimizer_class", "optimizer_kwargs"), "it is Adam, set by ppo.learning_rate and others"),
    **dict.fromkeys(("normalize_images", "scale_images"), "images of bytes are always divided by 255"),
}

# names of theirs that are also ours, for something else: our setting, the other, and what that is
_MEANT_OTHERWISE = {
    "target_kl": ("ppo.early_stop_kl", "ppo.target_kl", "what the kl schedule and kl_penalty aim at"),
}

# what commands and calls take beside settings: no key of a file, and no part of a section
_NO_SETTINGS = {
    "new": "it is no setting, and stands outside of them: give --run.new",
    "preset": "it is no setting, and stands outside of them: give --preset",
    "config": "it is no setting, and stands outside of them: give --config",
    "seeds": "it is no setting, but a flag of dppo train, which starts one run a seed; here it is one seed, run.seed",
    "trace": "it is no setting, but a flag of the commands dppo train, learner and actor",
    "print_config": "it is no setting, but a flag of dppo train and dppo learner",
}


def suggestion(name: str, known: Collection[str], show: Callable[[str], str] = str) -> str:
    """Return ` (did you mean X?)` or ` (here it is X)` for a name that is no setting; "" where nothing is near.

    known: the names there are. show: how a name is written where this one stood, as in `--ppo.gamma`.
    """
    name = name.lower().replace("-", "_")
    last = name.rpartition(".")[2].rpartition("__")[2]
    if name in _MEANT_OTHERWISE and _MEANT_OTHERWISE[name][0] in known:
        meant, other, is_of = _MEANT_OTHERWISE[name]
        return f" (here it is {show(meant)}; {show(other)} is {is_of})"
    theirs = _OURS.get(last)
    if theirs is not None and not any(path.rpartition(".")[2] == last for path in known):
        path, hint = theirs
        paths = [part if part in known else _AT_THE_END.get(part, part) for part in path.split(" and ")]
        if all(part in known for part in paths):
            ours = " and ".join(show(part) for part in paths)
            return f" (here it is {ours}{f': {hint}' if hint else ''})"
    if last in _ABSENT:
        return f" ({_ABSENT[last]})"
    if last in _NO_SETTINGS and not any(path.rpartition(".")[2] == last for path in known):
        return f" ({_NO_SETTINGS[last]})"
    near = nearest_name(name, known)
    return f" (did you mean {show(near)}?)" if near else ""
